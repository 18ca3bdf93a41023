"""MultiSiam in MoCo's frame (Chen et al., ICCV 2021, appendix B.2): centroids against a queue.

MoCo v2's loss of the images as wholes, and the same loss of the cells of what both views show,
whose keys are the centroids of the clusters that the target's cells belong to. There is no
predictor: maps are aligned before the projector, and the online one has the attention.

Equation 21 of the paper lacks the logarithm: as printed, the loss would be a probability that
training makes small. It is -log of it here, as in the contrastive loss that it is named after.

Where the paper is silent:

- everything that is MoCo's (views, heads, optimiser, momentum, shuffling BN) is as in MoCo v2;
- the image-level term is MoCo's, with λ = 0.5 as in equation 11, in one direction;
- the queue of the cells' negatives gets, following DenseCL (Wang et al., CVPR 2021), one vector an
  image: the mean of the target's projected cells;
- maps are aligned by where the encoder's cells really lie, see `representation.alignment`.

Offset alignment and residual connections have no form here: a projector that is told offsets would
have other weights than the target's, and the encoder's features more channels than projections.
"""

from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from representation.alignment import align_common_part, upright
from representation.attention import attend
from representation.clustering import check_clusters, cluster_targets
from representation.collapse import spread
from representation.contrast import Contrast, info_nce
from representation.correspondence import View
from representation.distortion import MOCO_V2
from representation.heads import contrastive_head
from representation.kmeans import Metric
from representation.method import Frames, Method
from representation.methods.moco import MoCoSettings, check_parts, numbers_of
from representation.models import new_encoder
from representation.norm import shuffled, split
from representation.optimizer import parameter_groups
from representation.overlap import (
    OverlapViews,
    matched_picture,
    shown_by_other,
    take_overlapping_views,
)
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


class MultiSiamMoCoSettings(Config):
    """What is MultiSiam's own in this form."""

    image_weight: float = Field(
        0.5, ge=0, le=1, description="λ of the image-level term; the cells' is 1 - λ"
    )
    alignment: Literal["none", "roi"] = Field(
        "roi", description="of the maps: not at all, or both read where they overlap"
    )
    attention: bool = Field(True, description="in the online projector of cells")
    clustering: Literal["centroids", "none"] = Field(
        "centroids", description="a cell's key: its cluster's centroid, or the target's same cell"
    )
    clusters: int = Field(3, ge=1, description="K, in each image")
    metric: Metric = Field("cosine", description="of K-means")


class MultiSiamMoCoPretraining(PretrainSettings):
    """The configuration of a run of MultiSiam's MoCo form."""

    views: OverlapViews = OverlapViews(first=MOCO_V2, second=MOCO_V2, scale=(0.2, 1.0))
    encoder: EncoderSettings = EncoderSettings(stride=32)
    heads: HeadSettings = HeadSettings(hidden=2048, out=128)
    optimizer: OptimizerSettings = OptimizerSettings(
        kind="sgd", learning_rate=0.03, reference_batch=256, weight_decay=1e-4
    )
    moco: MoCoSettings = MoCoSettings()
    multisiam: MultiSiamMoCoSettings = MultiSiamMoCoSettings()


class MultiSiamMoCo(Method):
    """The step of MultiSiam's MoCo form (appendix B.2)."""

    Settings = MultiSiamMoCoPretraining
    device_defaults: ClassVar = {
        "cpu": {
            "frames.batch_size": 32,
            "encoder.stride": 16,
            "heads.hidden": 512,
            "optimizer.learning_rate": 0.24,
            "optimizer.warmup": 20,
            "moco.momentum": 0.98,
            "moco.queue": 64,
            "moco.in_batch": True,
            "moco.parts": 2,
            "loop.steps": 450,
        },
        "cuda": {"frames.batch_size": 128},
    }
    uses_flow = False
    uses_pairs = False

    def __init__(self, settings: MultiSiamMoCoPretraining, device: torch.device) -> None:
        self.settings = settings
        own, moco, heads = settings.multisiam, settings.moco, settings.heads
        check_parts(moco.parts, settings.frames.batch_size)
        self.encoder = new_encoder(settings.encoder)
        if own.clustering != "none":
            views = settings.views
            check_clusters(
                own.clusters, self.encoder.positions(views.height, views.width).shape[2:]
            )
        if moco.parts > 1:
            split(self.encoder, moco.parts)
        new_head = partial(contrastive_head, self.encoder.channels, heads.hidden, heads.out)
        self.siamese = Siamese(
            self.encoder,
            {"image": new_head(), "cells": new_head()},
            momentum=moco.momentum,
            steps=None,
            device=device,
        )
        self.queues = {name: Queue(moco.queue, heads.out).to(device) for name in ("image", "cells")}
        queues = {f"queue of {name}": queue for name, queue in self.queues.items()}
        self.modules = {**self.siamese.modules, **queues}
        self.latest: tuple[View, View] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder and projectors; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> tuple[View, View]:
        """Return two views of each image that overlap."""
        return take_overlapping_views(frames, self.settings.views)

    def step(self, batch: tuple[View, View], step: int) -> dict[str, Tensor]:
        """Return the loss, its two terms, and what is watched.

        "accuracy" is the share of images to which no queued key is nearer than their own, "spread"
        that of the target's cells, "valid" the share of view 1 that view 2 shows.
        """
        self.latest = batch
        view1, view2 = batch
        features = self.siamese.online["encoder"](view1.images)
        others = self._target_features(view2.images, step)
        image = self._compare_images(features, others)
        cells, keys = self._compare_cells(view1, view2, features, others)
        weight = self.settings.multisiam.image_weight
        return {
            "loss": weight * image.loss.mean() + (1 - weight) * cells.loss.mean(),
            "image": image.loss.mean(),
            "cells": cells.loss.mean(),
            "accuracy": image.first.float().mean(),
            "spread": spread(keys),
            "valid": shown_by_other(view1, view2).mean(),
        }

    @torch.no_grad()
    def _target_features(self, images: Tensor, step: int) -> Tensor:
        """Return the target's features, `(B, C, h, w)`, normalised among other neighbours."""
        network = self.siamese.target["encoder"]
        if self.settings.moco.parts == 1:
            features: Tensor = network(images)
            return features
        order = purpose(key(self.settings.seed, torch.tensor(step)), "shuffling BN")
        return shuffled(network, images, order)

    def _compare_images(self, features: Tensor, others: Tensor) -> Contrast:
        """Return MoCo's loss of the features' means."""
        queries = self.siamese.online["image"](features.mean((2, 3), keepdim=True)).flatten(1)
        with torch.no_grad():
            keys = self.siamese.target["image"](others.mean((2, 3), keepdim=True)).flatten(1)
        return self._contrast("image", queries, keys, keys)

    def _compare_cells(
        self, view: View, other: View, features: Tensor, others: Tensor
    ) -> tuple[Contrast, Tensor]:
        """Return the cells' loss (equations 20 and 21) and the target's projected cells."""
        own = self.settings.multisiam
        if own.alignment == "roi":
            aligned, targets = align_common_part(view, other, features, others, self.encoder)
        else:
            aligned, targets = upright(features, view), upright(others, other)
        queries = self.siamese.online["cells"](aligned)
        if own.attention:
            queries = attend(aligned, queries)
        with torch.no_grad():
            keys = self.siamese.target["cells"](targets)
        positives = cluster_targets(
            keys, own.clusters, metric=own.metric, clustering=own.clustering
        )
        found = self._contrast("cells", rows(queries), rows(positives), keys.mean((2, 3)))
        return found, keys

    def _contrast(self, name: str, queries: Tensor, positives: Tensor, queued: Tensor) -> Contrast:
        """Return the contrastive loss of vectors `(N, C)`, and queue others for later."""
        negatives = self.queues[name].negatives()
        self.queues[name].push(queued)
        moco = self.settings.moco
        images = numbers_of(queries, len(queued)) if moco.in_batch else None
        return info_nce(queries, positives, negatives, moco.temperature, images)

    def after_step(self, step: int) -> None:
        """Let the target follow the online network."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the latest batch's first image: its views, and view 2 as seen from view 1."""
        return {} if self.latest is None else matched_picture(self.latest)


def rows(maps: Tensor) -> Tensor:
    """Return the vectors of all cells of maps `(B, C, h, w)`, `(B·h·w, C)`."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
