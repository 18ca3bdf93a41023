"""BYOL: each of two views predicts the other (Grill et al., "Bootstrap Your Own Latent", 2020).

The online network predicts from each view what the target network, its slow average, makes of the
other one. No negatives. The defaults are those of section 3.3 for 1000 epochs of ImageNet, where a
step sees 4096 images; ten epochs of warm-up are to be given in steps.

FlowE's supplement (section 6.1.2) has two variants for driving video, settings of the views:
`views.pre_crop=480` ("pre-crop") and with it `views.video=true` ("pre-crop w/ video").

The encoder has ResNet's own stride of 32, because only the mean of its features is used; its
weights serve at any other stride.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from representation.collapse import spread
from representation.correspondence import View
from representation.heads import perceptron
from representation.image_views import ImageViews, side_by_side, take_views
from representation.method import Frames, Method
from representation.models import new_encoder
from representation.optimizer import parameter_groups
from representation.settings import EncoderSettings, OptimizerSettings, PretrainSettings
from representation.siamese import Siamese, distance
from selfflow.runs.config import Config


class BYOLSettings(Config):
    """What is BYOL's own."""

    momentum: float = Field(
        0.996, ge=0, le=1, description="of the target network at the start; rises to 1"
    )


class BYOLPretraining(PretrainSettings):
    """The configuration of a BYOL run."""

    views: ImageViews = ImageViews()
    encoder: EncoderSettings = EncoderSettings(stride=32)
    optimizer: OptimizerSettings = OptimizerSettings(
        learning_rate=0.2, reference_batch=256, weight_decay=1.5e-6
    )
    byol: BYOLSettings = BYOLSettings()


class BYOL(Method):
    """The step of BYOL (section 3.1)."""

    Settings = BYOLPretraining
    device_defaults: ClassVar = {
        "cpu": {
            "frames.batch_size": 32,
            "heads.hidden": 512,
            "heads.out": 128,
            "optimizer.learning_rate": 2.0,
            "optimizer.warmup": 20,
            "byol.momentum": 0.97,
            "loop.steps": 500,
        },
        # The preset of BYOL's code for its shortest run, of 40 epochs.
        "cuda": {
            "frames.batch_size": 128,
            "optimizer.learning_rate": 0.45,
            "optimizer.weight_decay": 1e-6,
            "optimizer.warmup": 200,
            "byol.momentum": 0.97,
        },
    }
    uses_flow = False

    def __init__(self, settings: BYOLPretraining, device: torch.device) -> None:
        self.settings = settings
        self.uses_pairs = settings.views.video
        heads = settings.heads
        self.encoder = new_encoder(settings.encoder)
        projector = perceptron(self.encoder.channels, heads.hidden, heads.out)
        self.predictor = perceptron(heads.out, heads.hidden, heads.out).to(device)
        self.siamese = Siamese(
            self.encoder,
            {"projector": projector},
            momentum=settings.byol.momentum,
            steps=settings.loop.steps,
            device=device,
        )
        self.modules = {**self.siamese.modules, "predictor": self.predictor}
        self.latest: tuple[View, View] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder, projector and predictor; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online, self.predictor])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> tuple[View, View]:
        """Return two views of each image."""
        return take_views(frames, self.settings.views)

    def step(self, batch: tuple[View, View], step: int) -> dict[str, Tensor]:
        """Return the loss, the sum of both directions, and the spread of the target's projections.

        Batch normalisation sees one view at a time, as in BYOL's code.
        """
        self.latest = batch
        predictions, projections = [], []
        for view in batch:
            projected = self.siamese.project(view.images, pooled=True)
            predictions.append(self.predictor(projected))
            projections.append(self.siamese.project_target(view.images, pooled=True))
        one_way = distance(predictions[0], projections[1]).mean()
        other_way = distance(predictions[1], projections[0]).mean()
        return {"loss": one_way + other_way, "spread": spread(torch.cat(projections))}

    def after_step(self, step: int) -> None:
        """Let the target follow the online network, after the optimiser's step."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the two views of the latest batch's first image."""
        return {} if self.latest is None else side_by_side(self.latest)
