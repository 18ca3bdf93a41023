"""MultiSiam: BYOL for images of many things (Chen, Hong, Xu, Li and Yeung, ICCV 2021).

"MultiSiam: Self-supervised Multi-instance Siamese Representation Learning for Autonomous Driving".
Two crops of an image that overlap are compared twice: as wholes, as in BYOL, and cell by cell.
There the online network predicts, with attention to the whole map, the centroid of the cluster that
the target network's cell belongs to, among the few clusters of its own image. The defaults are the
best of table 4, trained as in section 4.1; `multisiam_moco` is the form of appendix B.2.

Where the paper is silent or differs:

- the loss is 2 - 2 cos, twice the paper's -cos and never negative, and the sum of both directions
  (view 1 predicts view 2, and the reverse), both as in BYOL, which it builds on;
- the image-level and the cell-level term have heads of their own, as "branches" suggests;
- maps are aligned by where the encoder's cells really lie, see `representation.alignment`;
- the similarity of attention is of R as equations 6 and 9 have it, offsets included; what a
  residual connection adds is the block's input as in non-local networks, R without the offsets, for
  which the result has no channels;
- K-means starts as `representation.kmeans` says.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from representation.alignment import align_common_part, offset_map, upright
from representation.attention import attend
from representation.clustering import Clustering, check_clusters, cluster_targets, consistency
from representation.collapse import spread
from representation.correspondence import View
from representation.heads import perceptron
from representation.kmeans import Metric
from representation.method import Frames, Method
from representation.models import new_encoder
from representation.optimizer import parameter_groups
from representation.overlap import (
    OverlapViews,
    matched_picture,
    shown_by_other,
    take_overlapping_views,
)
from representation.settings import EncoderSettings, OptimizerSettings, PretrainSettings
from representation.siamese import Siamese, distance
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError


class MultiSiamSettings(Config):
    """What is MultiSiam's own; other values are the ablations of tables 2, 3, 4 and 9."""

    momentum: float = Field(
        0.996, ge=0, le=1, description="of the target network at the start; rises to 1"
    )
    image_weight: float = Field(
        0.5, ge=0, le=1, description="λ of the image-level term; the cells' is 1 - λ"
    )
    alignment: Literal["none", "roi", "offset", "offset-pixels"] = Field(
        "offset",
        description="of the maps: not at all, both read where they overlap, or the predictor is "
        "told how far apart cells lie, relative to the view or in pixels",
    )
    attention: Literal["none", "plain", "residual"] = Field(
        "plain", description="in the predictor of cells"
    )
    clustering: Clustering = Field(
        "centroids",
        description="what a cell predicts: its cluster's centroid, all cells of its cluster "
        "(dense), or the target's same cell (none: without K-means)",
    )
    clusters: int = Field(3, ge=1, description="K, in each image")
    metric: Metric = Field("cosine", description="of K-means")


class MultiSiamPretraining(PretrainSettings):
    """The configuration of a MultiSiam run."""

    views: OverlapViews = OverlapViews()
    encoder: EncoderSettings = EncoderSettings(stride=32)
    optimizer: OptimizerSettings = OptimizerSettings(
        learning_rate=1.0, reference_batch=256, weight_decay=1e-5
    )
    multisiam: MultiSiamSettings = MultiSiamSettings()


class MultiSiam(Method):
    """The step of MultiSiam (section 3)."""

    Settings = MultiSiamPretraining
    device_defaults: ClassVar = {
        "cpu": {
            "frames.batch_size": 32,
            "encoder.stride": 16,
            "heads.hidden": 512,
            "heads.out": 128,
            "optimizer.learning_rate": 2.0,
            "optimizer.warmup": 20,
            "multisiam.momentum": 0.97,
            "loop.steps": 350,
        },
        # The learning rate of the paper's shorter runs (section 4.3), with table 8's momentum.
        "cuda": {
            "frames.batch_size": 128,
            "optimizer.learning_rate": 0.3,
            "optimizer.warmup": 200,
            "multisiam.momentum": 0.99,
        },
    }
    uses_flow = False
    uses_pairs = False

    def __init__(self, settings: MultiSiamPretraining, device: torch.device) -> None:
        self.settings = settings
        own, heads = settings.multisiam, settings.heads
        self.encoder = new_encoder(settings.encoder)
        cells = self.encoder.positions(settings.views.height, settings.views.width).shape[2:]
        if own.clustering != "none":
            check_clusters(own.clusters, cells)
        if own.alignment == "offset" and 1 in cells:
            raise UserError("multisiam.alignment = offset needs more than a single row of cells")
        told = 2 if own.alignment.startswith("offset") else 0
        self.predictor = nn.ModuleDict(
            {
                "image": perceptron(heads.out, heads.hidden, heads.out),
                "cells": perceptron(heads.out + told, heads.hidden, heads.out),
            }
        ).to(device)
        self.siamese = Siamese(
            self.encoder,
            {
                "image": perceptron(self.encoder.channels, heads.hidden, heads.out),
                "cells": perceptron(self.encoder.channels, heads.hidden, heads.out),
            },
            momentum=own.momentum,
            steps=settings.loop.steps,
            device=device,
        )
        self.modules = {**self.siamese.modules, "predictor": self.predictor}
        self.latest: tuple[View, View] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder, projectors and predictors; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online, self.predictor])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> tuple[View, View]:
        """Return two views of each image that overlap."""
        return take_overlapping_views(frames, self.settings.views)

    def step(self, batch: tuple[View, View], step: int) -> dict[str, Tensor]:
        """Return the loss (equation 11), its two terms, and what is watched.

        Terms are the sums of both directions. "spread" is that of the target's cells, "valid" the
        share of the views that the other one shows.
        """
        self.latest = batch
        view1, view2 = batch
        online = [project_both(self.siamese.online, view.images) for view in batch]
        with torch.no_grad():
            target = [project_both(self.siamese.target, view.images) for view in batch]
        image = self._compare_images(online[0][0], target[1][0])
        image = image + self._compare_images(online[1][0], target[0][0])
        cells = self._compare_cells(view1, view2, online[0][1], target[1][1])
        cells = cells + self._compare_cells(view2, view1, online[1][1], target[0][1])
        weight = self.settings.multisiam.image_weight
        shared = torch.cat((shown_by_other(view1, view2), shown_by_other(view2, view1)))
        return {
            "loss": weight * image + (1 - weight) * cells,
            "image": image,
            "cells": cells,
            "spread": spread(torch.cat([projected for _, projected in target])),
            "valid": shared.mean(),
        }

    def _compare_images(self, online: Tensor, target: Tensor) -> Tensor:
        """Return the image-level term of one direction (equation 1)."""
        return distance(self.predictor["image"](online), target).mean()

    def _compare_cells(self, view: View, other: View, online: Tensor, target: Tensor) -> Tensor:
        """Return the cells' term of one direction, of the views' projections `(B, C, h, w)`."""
        own = self.settings.multisiam
        aligned, targets = self._align(view, other, online, target)
        predicted = self.predictor["cells"](aligned)
        if own.attention != "none":
            predicted = attend(aligned, predicted)
        if own.attention == "residual":
            predicted = predicted + aligned[:, : predicted.shape[1]]
        targets = cluster_targets(
            targets, own.clusters, metric=own.metric, clustering=own.clustering
        )
        return consistency(predicted, targets)

    def _align(
        self, view: View, other: View, online: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return R and R', whose cells belong together (equations 3, 4, 6 and 7)."""
        alignment, encoder = self.settings.multisiam.alignment, self.encoder
        if alignment == "roi":
            return align_common_part(view, other, online, target, encoder)
        online, target = upright(online, view), upright(target, other)
        if alignment == "none":
            return online, target
        offsets = offset_map(view, other, encoder, normalised=alignment == "offset")
        return torch.cat((online, offsets), 1), target

    def after_step(self, step: int) -> None:
        """Let the target follow the online network, after the optimiser's step."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the latest batch's first image: its views, and view 2 as seen from view 1."""
        return {} if self.latest is None else matched_picture(self.latest)


def project_both(network: nn.ModuleDict, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projections of images as wholes, `(B, C, 1, 1)`, and of their cells."""
    features = network["encoder"](images)
    return network["image"](features.mean((2, 3), keepdim=True)), network["cells"](features)
