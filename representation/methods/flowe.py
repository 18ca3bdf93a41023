"""FlowE: features that move as the flow says (Xiong, Ren, Zeng and Urtasun, ICCV 2021).

The online network sees a view of frame 1, the target network, its slow average, a view of frame 2.
Its features, read where the flow and the views' affine maps lead, are to be predicted at every
position that both views show. No negatives; BYOL's predictor and momentum keep it from collapse.

Its ablations (table 3, "pixel based", "affine transform" and "optical flow") are settings:

    pixel based alone       views.affine=false flowe.flow=false
    without flow            flowe.flow=false
    without affine          views.affine=false
    not pixel based         flowe.dense=false
    all                     the defaults

Without flow both views show the same frame; the paper does not say, and `--flow-model zero`, which
compares two frames place by place, is the other reading. BYOL on crops of one frame or two, with
which the supplement compares, is in `byol.py`.

The same kind of place in both views is easily predicted: with small views and little training the
network knows where in its view a feature lies, by the padding, and nothing else. Three settings of
our own are against it: `views.surroundings`, `views.shift`, and `flowe.pixel_shuffle`, CACL's:
views are rolled round their edges, and features back.

Where the paper is silent: the loss is the mean over the valid positions of the whole batch, and
batch normalisation sees the batches of all processes, as in BYOL.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from representation.collapse import spread
from representation.correspondence import View, correspondence
from representation.encoder import read_features
from representation.heads import perceptron
from representation.image_views import side_by_side
from representation.method import Frames, Method
from representation.models import new_encoder
from representation.optimizer import parameter_groups
from representation.pictures.matches import matches_picture
from representation.rolling import check_whole_cells, draw_shifts, roll
from representation.settings import PretrainSettings
from representation.siamese import Siamese, distance
from representation.views import ViewSettings, draw_crops, make_view
from selfflow.flow import pixel_grid, sample, visible_by_consistency
from selfflow.losses import masked_mean
from selfflow.random import purpose
from selfflow.runs.config import Config


class FlowESettings(Config):
    """What is FlowE's own."""

    momentum: float = Field(
        0.996, ge=0, le=1, description="of the target network at the start; rises to 1"
    )
    loss_at: Literal["pixels", "cells"] = Field(
        "pixels", description="compare at all pixels (algorithm 1) or at the feature cells"
    )
    symmetric: bool = Field(False, description="also predict frame 1 from frame 2")
    dense: bool = Field(True, description="off: compare the means of the feature maps")
    flow: bool = Field(True, description="off: both views show the first frame")
    pixel_shuffle: bool = Field(
        False, description="roll views round their edges, features back, each by itself"
    )
    relative: float = Field(0.01, ge=0, description="occlusion: share of the flow's square")
    absolute: float = Field(0.5, ge=0, description="occlusion: allowed square error, px²")


class FlowEPretraining(PretrainSettings):
    """The configuration of a FlowE run."""

    views: ViewSettings = ViewSettings()
    flowe: FlowESettings = FlowESettings()


@dataclass(frozen=True)
class Match:
    """Positions of one view, where the other view shows them, and whether it does.

    Attributes:
        positions: `(1, 2, h', w')` pixels.
        targets: `(B, 2, h', w')` pixels.
        valid: `(B, 1, h', w')` bool.
    """

    positions: Tensor
    targets: Tensor
    valid: Tensor


@dataclass(frozen=True)
class ViewPair:
    """Two views and how they correspond.

    Attributes:
        view1: of frame 1.
        view2: of frame 2.
        forward: from view 1 to view 2; None if only means are compared.
        backward: from view 2 to view 1; None also unless the loss is symmetric.
        shifts: by which the two views are rolled, `(2, B, 2)` pixels; None: not at all.
    """

    view1: View
    view2: View
    forward: Match | None
    backward: Match | None
    shifts: Tensor | None = None


class FlowE(Method):
    """The step of FlowE (algorithm 1)."""

    Settings = FlowEPretraining
    device_defaults: ClassVar = {
        # Why so: see configs/pretrain/flowe-quick.toml.
        "cpu": {
            "flow_scale": 0.5,
            "frames.short_side": 240,
            "frames.batch_size": 8,
            "views.shift": 0.25,
            "views.surroundings": True,
            "views.distortion.strength": 0.5,
            "encoder.stride": 16,
            "heads.hidden": 512,
            "heads.out": 128,
            "optimizer.learning_rate": 1.0,
            "optimizer.warmup": 20,
            "flowe.momentum": 0.98,
            "flowe.loss_at": "cells",
            "loop.steps": 800,
        },
        "cuda": {"flowe.loss_at": "cells"},
    }

    def __init__(self, settings: FlowEPretraining, device: torch.device) -> None:
        self.settings = settings
        own, heads = settings.flowe, settings.heads
        self.uses_flow = own.flow and own.dense
        self.uses_pairs = own.flow
        self.encoder = new_encoder(settings.encoder)
        if own.pixel_shuffle:
            size = settings.views.height, settings.views.width
            check_whole_cells(*size, self.encoder.backbone_stride, "flowe.pixel_shuffle")
        projector = perceptron(self.encoder.channels, heads.hidden, heads.out)
        self.predictor = perceptron(heads.out, heads.hidden, heads.out).to(device)
        self.siamese = Siamese(
            self.encoder,
            {"projector": projector},
            momentum=own.momentum,
            steps=settings.loop.steps,
            device=device,
        )
        self.modules = {**self.siamese.modules, "predictor": self.predictor}
        self.latest: ViewPair | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder, projector and predictor; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online, self.predictor])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> ViewPair:
        """Return two views of the pairs and how they correspond."""
        own, views = self.settings.flowe, self.settings.views
        crop = draw_crops(frames.keys, frames.sizes, views)
        frame2 = frames.image2 if own.flow else frames.image1
        view1, view2 = (
            make_view(images, purpose(frames.keys, "view", number), crop, views, frames.sizes)
            for number, images in ((1, frames.image1), (2, frame2))
        )
        forward = backward = None
        if own.dense:
            forward = self._match(view1, view2, frames.forward, frames.backward)
        if own.dense and own.symmetric:
            backward = self._match(view2, view1, frames.backward, frames.forward)
        shifts = None
        if own.pixel_shuffle:
            keys = [purpose(frames.keys, "pixel shuffle", number) for number in (1, 2)]
            step = self.encoder.backbone_stride
            drawn = [draw_shifts(each, views.height, views.width, step) for each in keys]
            shifts = torch.stack(drawn).to(view1.images.device)
        return ViewPair(view1, view2, forward, backward, shifts)

    def _match(
        self, view1: View, view2: View, flow: Tensor | None, reverse: Tensor | None
    ) -> Match:
        own = self.settings.flowe
        height, width = view1.images.shape[-2:]
        if own.loss_at == "pixels":
            positions = pixel_grid(height, width, device=view1.images.device)
        else:
            positions = self.encoder.positions(height, width)
        visible = None
        if self.uses_flow:
            if flow is None or reverse is None:
                raise ValueError("FlowE needs the flow of its frames, both ways")
            visible = visible_by_consistency(
                flow, reverse, relative=own.relative, absolute=own.absolute
            )
        return Match(positions, *correspondence(view1, view2, positions, flow, visible))

    def step(self, batch: ViewPair, step: int) -> dict[str, Tensor]:
        """Return the loss, the spread of the target's projections and the share of valid places.

        With `symmetric`, the mean of both directions. Of means no places are compared.
        """
        self.latest = batch
        ways = [self._one_way(batch.view1, batch.view2, batch.forward, batch.shifts)]
        if self.settings.flowe.symmetric:
            shifts = None if batch.shifts is None else batch.shifts.flip(0)
            ways.append(self._one_way(batch.view2, batch.view1, batch.backward, shifts))
        return {name: torch.stack([way[name] for way in ways]).mean() for name in ways[0]}

    def _one_way(
        self, view1: View, view2: View, match: Match | None, shifts: Tensor | None = None
    ) -> dict[str, Tensor]:
        pooled, first, second = match is None, view1.images, view2.images
        if shifts is not None:
            first, second = roll(first, shifts[0]), roll(second, shifts[1])
        prediction = self.predictor(self.siamese.project(first, pooled=pooled))
        projection = self.siamese.project_target(second, pooled=pooled)
        if shifts is not None and not pooled:
            back = -shifts // self.encoder.stride
            prediction, projection = roll(prediction, back[0]), roll(projection, back[1])
        terms = {"spread": spread(projection)}
        if match is None:
            return {"loss": distance(prediction, projection).mean(), **terms}
        loss = equivariance_loss(
            prediction, projection, match, self.encoder.stride, self.encoder.offset
        )
        return {"loss": loss, **terms, "valid": match.valid.float().mean()}

    def after_step(self, step: int) -> None:
        """Let the target follow the online network, after the optimiser's step as in BYOL."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the latest batch's first pair: its matches, and its views.

        Beside the views is view 2 as seen from view 1, black where that is not valid.
        """
        if self.latest is None:
            return {}
        view1, view2, match = self.latest.view1, self.latest.view2, self.latest.forward
        if match is None:
            return side_by_side((view1, view2))
        size = view1.images.shape[-2:]
        aligned = sample(view2.images[:1], match.targets[:1]) * match.valid[:1]
        aligned = F.interpolate(aligned, size, mode="nearest")
        return {
            "views": torch.cat((view1.images[0], view2.images[0], aligned[0]), 2),
            "matches": matches_picture(view1, view2, match.positions, match.targets, match.valid),
        }


def equivariance_loss(
    prediction: Tensor, projection: Tensor, match: Match, stride: int, offset: float = 0.0
) -> Tensor:
    """Return the mean distance at all valid positions of the batch (equation 5), a scalar.

    Algorithm 1 first upsamples both feature maps to the image's size and then warps the second.
    Reading the projections at T(u) right away is the same where cells are centred on whole pixels,
    as a ResNet's: the upsampled map is bilinear between neighbouring pixels.

    Args:
        prediction: p1, `(B, C, h, w)`, from view 1.
        projection: z2, `(B, C, h, w)`, from view 2.
        match: where they are compared.
        stride: of the feature maps.
        offset: the pixel that their first cell is centred on.
    """
    predicted = read_features(prediction, match.positions, stride, offset)
    found = read_features(projection, match.targets, stride, offset)
    return masked_mean(distance(predicted, found), match.valid)
