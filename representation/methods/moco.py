"""MoCo v2: which key in a queue belongs to this query? (He et al., CVPR 2020; Chen et al., 2020).

"Momentum Contrast for Unsupervised Visual Representation Learning", and "Improved Baselines with
Momentum Contrastive Learning" for the head, the distortion and the temperature. The online network
makes queries of the first views, the target network, its slow average, keys of the second ones;
the keys of earlier batches are the negatives. The defaults are those of the code of version 2, for
200 epochs of ImageNet with 256 images a step. Its learning rate fell along half a cosine as here.

Batch normalisation knows a part of the batch alone, and keys are made in another order than
queries ("shuffling BN", section 3.3 of the first paper): else the network could tell the positive
by the statistics that both share. The paper's parts are its 8 GPUs; here they are 8 in any number
of processes, one included. With one part, normalisation is over the batch of all processes.

The target moves after the optimiser's step, which is before the next keys: the same sequence of
targets as MoCo's, see `representation.siamese`.

The encoder has ResNet's own stride of 32, because only the mean of its features is used; its
weights serve at any other stride.
"""

from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from representation.collapse import spread
from representation.contrast import info_nce
from representation.correspondence import View
from representation.distortion import MOCO_V2
from representation.heads import contrastive_head
from representation.image_views import ImageViews, side_by_side, take_views
from representation.method import Frames, Method
from representation.models import new_encoder
from representation.norm import shuffled, split
from representation.optimizer import parameter_groups
from representation.queue import Queue
from representation.settings import (
    EncoderSettings,
    HeadSettings,
    OptimizerSettings,
    PretrainSettings,
)
from representation.siamese import Siamese
from selfflow.random import key, purpose
from selfflow.runs.config import Config
from selfflow.runs.distributed import world_size
from selfflow.runs.errors import UserError


class MoCoSettings(Config):
    """What is MoCo's own."""

    momentum: float = Field(0.999, ge=0, le=1, description="of the target network, fixed")
    temperature: float = Field(0.2, gt=0, description="of the softmax over the keys")
    queue: int = Field(65_536, ge=1, description="keys that serve as negatives")
    in_batch: bool = Field(False, description="keys of the batch's other images are negatives, too")
    parts: int = Field(
        8,
        ge=1,
        description="of a batch, of all processes, each normalised by itself, keys in another "
        "order than queries; 1: one normalisation over the whole batch",
    )


class MoCoPretraining(PretrainSettings):
    """The configuration of a MoCo run."""

    views: ImageViews = ImageViews(first=MOCO_V2, second=MOCO_V2, scale=(0.2, 1.0))
    encoder: EncoderSettings = EncoderSettings(stride=32)
    heads: HeadSettings = HeadSettings(hidden=2048, out=128)
    optimizer: OptimizerSettings = OptimizerSettings(
        kind="sgd", learning_rate=0.03, reference_batch=256, weight_decay=1e-4
    )
    moco: MoCoSettings = MoCoSettings()


class MoCo(Method):
    """The step of MoCo (algorithm 1)."""

    Settings = MoCoPretraining
    device_defaults: ClassVar = {
        "cpu": {
            "frames.batch_size": 32,
            "heads.hidden": 512,
            "optimizer.learning_rate": 0.24,
            "optimizer.warmup": 20,
            "moco.momentum": 0.98,
            "moco.queue": 64,
            "moco.in_batch": True,
            "moco.parts": 2,
            "loop.steps": 800,
        },
        "cuda": {"frames.batch_size": 128},
    }
    uses_flow = False

    def __init__(self, settings: MoCoPretraining, device: torch.device) -> None:
        self.settings = settings
        self.uses_pairs = settings.views.video
        own, heads = settings.moco, settings.heads
        check_parts(own.parts, settings.frames.batch_size)
        self.encoder = new_encoder(settings.encoder)
        projector = contrastive_head(self.encoder.channels, heads.hidden, heads.out)
        if own.parts > 1:
            split(self.encoder, own.parts)
        self.siamese = Siamese(
            self.encoder,
            {"projector": projector},
            momentum=own.momentum,
            steps=None,
            device=device,
        )
        self.queue = Queue(own.queue, heads.out).to(device)
        self.modules = {**self.siamese.modules, "queue": self.queue}
        self.latest: tuple[View, View] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder and projector; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> tuple[View, View]:
        """Return two views of each image."""
        return take_views(frames, self.settings.views)

    def step(self, batch: tuple[View, View], step: int) -> dict[str, Tensor]:
        """Return the loss, the accuracy and the spread of the keys, which are queued.

        The accuracy is the share of queries to which no queued key is nearer than their own.
        """
        self.latest = batch
        queries = self.siamese.project(batch[0].images, pooled=True)
        keys = self._keys(batch[1].images, step)
        negatives = self.queue.negatives()
        self.queue.push(keys.flatten(1))
        own = self.settings.moco
        images = numbers_of(keys.flatten(1), len(keys)) if own.in_batch else None
        found = info_nce(queries.flatten(1), keys.flatten(1), negatives, own.temperature, images)
        return {
            "loss": found.loss.mean(),
            "accuracy": found.first.float().mean(),
            "spread": spread(keys),
        }

    def _keys(self, images: Tensor, step: int) -> Tensor:
        """Return the target's projections, `(B, C, 1, 1)`, normalised among other neighbours."""
        network = partial(self.siamese.project_target, pooled=True)
        if self.settings.moco.parts == 1:
            return network(images)
        order = purpose(key(self.settings.seed, torch.tensor(step)), "shuffling BN")
        return shuffled(network, images, order)

    def after_step(self, step: int) -> None:
        """Let the target follow the online network."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the two views of the latest batch's first image."""
        return {} if self.latest is None else side_by_side(self.latest)


def numbers_of(vectors: Tensor, images: int) -> Tensor:
    """Return the number of the image that each of vectors `(N, C)` is of, `(N,)`.

    Of all images there are equally many, those of the first one first.
    """
    return torch.arange(len(vectors), device=vectors.device) // (len(vectors) // images)


def check_parts(parts: int, batch_size: int) -> None:
    """Raise a UserError unless the processes' batches can be divided into that many parts."""
    processes = world_size()
    if parts > 1 and (parts % processes or batch_size * processes % parts):
        raise UserError(
            f"moco.parts = {parts} parts of {processes} x {batch_size} images are not the same "
            "for all; 1 part is always possible"
        )
