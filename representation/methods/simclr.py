"""SimCLR: two views of an image attract, all other images repel (Chen et al., ICML 2020).

"A Simple Framework for Contrastive Learning of Visual Representations". The defaults are the
paper's for 100 epochs of ImageNet with 4096 images a step (sections 2.2 and 5, appendix B.6), ten
epochs of warm-up are to be given in steps. The temperature is 0.1, the best of table 5.

Deviation: LARS is in BYOL's order, which multiplies the learning rate to the momentum's buffer, not
to what enters it; the two differ only while the learning rate changes.

The encoder has ResNet's own stride of 32, because only the mean of its features is used; its
weights serve at any other stride.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from representation.collapse import spread
from representation.contrast import nt_xent
from representation.correspondence import View
from representation.distortion import SIMCLR
from representation.heads import contrastive_head
from representation.image_views import ImageViews, side_by_side, take_views
from representation.method import Frames, Method
from representation.models import new_encoder
from representation.optimizer import parameter_groups
from representation.settings import (
    EncoderSettings,
    HeadSettings,
    OptimizerSettings,
    PretrainSettings,
)
from representation.siamese import project
from selfflow.runs.config import Config


class SimCLRSettings(Config):
    """What is SimCLR's own."""

    temperature: float = Field(0.1, gt=0, description="of the softmax over the batch")


class SimCLRPretraining(PretrainSettings):
    """The configuration of a SimCLR run."""

    views: ImageViews = ImageViews(first=SIMCLR, second=SIMCLR)
    encoder: EncoderSettings = EncoderSettings(stride=32)
    heads: HeadSettings = HeadSettings(hidden=2048, out=128)
    optimizer: OptimizerSettings = OptimizerSettings(
        learning_rate=0.3, reference_batch=256, weight_decay=1e-6
    )
    simclr: SimCLRSettings = SimCLRSettings()


class SimCLR(Method):
    """The step of SimCLR (algorithm 1)."""

    Settings = SimCLRPretraining
    device_defaults: ClassVar = {
        "cpu": {
            "frames.batch_size": 32,
            "heads.hidden": 512,
            "optimizer.learning_rate": 2.0,
            "optimizer.warmup": 20,
            "loop.steps": 400,
        },
        # The paper's rule for small batches, 0.075 times the batch's square root (appendix B.1).
        "cuda": {
            "frames.batch_size": 128,
            "optimizer.learning_rate": 0.85,
            "optimizer.reference_batch": 128,
            "optimizer.warmup": 2000,
        },
    }
    uses_flow = False

    def __init__(self, settings: SimCLRPretraining, device: torch.device) -> None:
        self.settings = settings
        self.uses_pairs = settings.views.video
        heads = settings.heads
        self.encoder = new_encoder(settings.encoder)
        projector = contrastive_head(
            self.encoder.channels, heads.hidden, heads.out, normalised=True
        )
        self.online = nn.ModuleDict({"encoder": self.encoder, "projector": projector}).to(device)
        self.modules = {"online": self.online}
        self.latest: tuple[View, View] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder and projector."""
        return parameter_groups([self.online])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> tuple[View, View]:
        """Return two views of each image."""
        return take_views(frames, self.settings.views)

    def step(self, batch: tuple[View, View], step: int) -> dict[str, Tensor]:
        """Return the loss, the accuracy and the spread of the projections.

        The accuracy is the share of views to which none is nearer than their image's other one.

        Both views pass the network together, and share the statistics of batch normalisation, as
        in SimCLR's code.
        """
        self.latest = batch
        images = torch.cat([view.images for view in batch])
        projections = project(self.online, images, pooled=True)
        first, second = projections.flatten(1).chunk(2)
        found = nt_xent(first, second, self.settings.simclr.temperature)
        return {
            "loss": found.loss.mean(),
            "accuracy": found.first.float().mean(),
            "spread": spread(projections),
        }

    def pictures(self) -> dict[str, Tensor]:
        """Return the two views of the latest batch's first image."""
        return {} if self.latest is None else side_by_side(self.latest)
