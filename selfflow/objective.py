"""The self-supervised objective: how well flow explains frames, without labels.

Ω = w₁ · photometric + w₂ · smoothness + w₃ · distillation (Huang et al., CVPR 2023; the terms are
SMURF's, Stone et al., CVPR 2021). `measure` scores a network on pairs of whole frames; training
(`selfflow.unsupervised`) puts the same parts together on crops.

A network can lower the masked photometric term by declaring what it cannot match occluded. So the
covered share is reported with every value, and a variant charges each uncovered pixel a constant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfflow.census import PATCH, census
from selfflow.flow import consistent, range_map, resize_flow, stays_inside, warp
from selfflow.losses import (
    confidence,
    distillation,
    inner,
    masked_mean_each,
    smoothness,
)
from selfflow.pairs import Pairs
from selfflow.runs.config import Config

# What `measure` returns.
TERMS = (
    "photometric",
    "photometric_charged",
    "smoothness",
    "covered",
    "distillation",
    "objective",
)
# Half of the census patch: nearer to the border it has no full neighbourhood.
CENSUS_BORDER = PATCH // 2


class ObjectiveSettings(Config):
    """Weights and choices of the objective; for driving video smoothness 2.0 of order 2."""

    photometric: float = Field(1.0, ge=0, description="weight of the census term")
    smoothness: float = Field(2.5, ge=0, description="weight of edge-aware smoothness")
    smoothness_order: Literal[1, 2] = Field(1, description="derivative of flow that is penalised")
    distillation: float = Field(0.3, ge=0, description="weight of learning from the whole frame")
    distillation_masks: Literal["soft", "hard"] = Field(
        "soft", description="confidence in [0, 1] (SMURF), or the occlusion check (DDFlow)"
    )
    student_margin: int = Field(
        64, ge=1, description="pixels a side that the student does not see (fewer in small frames)"
    )
    occlusion: Literal["consistency", "range_map", "none"] = Field(
        "consistency", description="what tells occluded pixels"
    )
    charge_uncovered: bool = Field(
        False, description="charge pixels that the photometric term leaves out"
    )
    # The penalty of an unrelated patch is about 3.5 (half of 48 neighbours ordered otherwise), the
    # worst 4.7: hiding a pixel must not be cheaper than matching it with anything.
    uncovered_charge: float = Field(
        4.0, ge=0, description="census penalty of a pixel that is left out, if charged"
    )


class FlowNetwork(Protocol):
    """What the objective needs of a network."""

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow."""
        ...


# --- parts --------------------------------------------------------------------------------------


def unoccluded(flow: Tensor, reverse: Tensor, kind: str) -> Tensor:
    """Return how far each pixel is seen in the other frame, `(B, 1, H, W)` in [0, 1].

    Args:
        flow: from the frame in question to the other one, `(B, 2, H, W)`.
        reverse: the other frame's flow to this one.
        kind: "consistency" (forward-backward check), "range_map" (how much of the reverse flow
            lands here) or "none".
    """
    if kind == "consistency":
        return consistent(flow, reverse).to(flow.dtype)
    if kind == "range_map":
        return range_map(reverse).clamp(0, 1)
    if kind == "none":
        return torch.ones_like(flow[:, :1])
    raise ValueError(f"occlusion must be consistency, range_map or none, got {kind}")


def margins(height: int, width: int, largest: int = 64) -> tuple[int, int]:
    """Return the rows and columns that a student does not see on each side.

    `largest` as in SMURF (64); on sides shorter than SMURF's shortest (296 pixels) the same share.
    """
    return min(largest, height * largest // 296), min(largest, width * largest // 296)


def student_view(values: Tensor, largest: int = 64) -> Tensor:
    """Return the inside of `values` `(B, C, H, W)`, enlarged to its size again."""
    height, width = values.shape[-2:]
    top, left = margins(height, width, largest)
    inside = values[:, :, top : height - top, left : width - left]
    return F.interpolate(inside, (height, width), mode="bilinear", align_corners=False)


def student_flow(flow: Tensor, largest: int = 64) -> Tensor:
    """Return flow `(B, 2, H, W)` as it is in a student's view: cropped, enlarged, scaled."""
    height, width = flow.shape[-2:]
    top, left = margins(height, width, largest)
    return resize_flow(flow[:, :, top : height - top, left : width - left], height, width)


def teacher_mask(flow: Tensor, reverse: Tensor, settings: ObjectiveSettings) -> Tensor:
    """Return where a teacher is to be believed, in its student's view, `(B, 1, H, W)`."""
    if settings.distillation_masks == "soft":
        trusted = confidence(flow, reverse, sigma=0.003)
    else:
        trusted = (consistent(flow, reverse) & stays_inside(flow)).to(flow.dtype)
    return student_view(trusted, settings.student_margin)


def student_mask(flow: Tensor, reverse: Tensor, settings: ObjectiveSettings) -> Tensor:
    """Return where a student has something to learn, `(B, 1, H, W)`."""
    if settings.distillation_masks == "soft":
        return 1 - confidence(flow, reverse, sigma=0.03)
    return (~(consistent(flow, reverse) & stays_inside(flow))).to(flow.dtype)


def swap(values: Tensor) -> Tensor:
    """Return a batch of both directions, `(2B, ...)`, with the directions exchanged."""
    first, second = values.chunk(2)
    return torch.cat((second, first))


# --- measurement --------------------------------------------------------------------------------


@torch.no_grad()
def measure(
    network: FlowNetwork, pairs: Pairs, settings: ObjectiveSettings, iterations: int = 12
) -> dict[str, Tensor]:
    """Return the objective and its terms for each pair, `(B,)`, averaged over both directions.

    Keys: `photometric` (mean census penalty of covered pixels), `photometric_charged` (uncovered
    ones count with `uncovered_charge`), `smoothness`, `distillation`, `covered` (the share of
    pixels that the photometric term looks at) and `objective`, the weighted sum.

    The network is in eval mode, its last iteration counts; the teacher sees whole frames, the
    student their inside, enlarged.
    """
    with evaluating(network):
        images = torch.cat((pairs.image1, pairs.image2))
        flow = torch.cat(network.bidirectional(pairs.image1, pairs.image2, iterations))
        terms = _explain(images, flow, settings)
        if settings.distillation > 0:
            terms["distillation"] = _distil(network, images, flow, settings, iterations)
        else:
            terms["distillation"] = torch.zeros_like(terms["covered"])
    both = {name: value.view(2, -1).mean(0) for name, value in terms.items()}
    return both | {"objective": weighted_sum(both, settings)}


def weighted_sum(terms: dict[str, Tensor], settings: ObjectiveSettings) -> Tensor:
    """Return the objective of given terms."""
    name = "photometric_charged" if settings.charge_uncovered else "photometric"
    return (
        settings.photometric * terms[name]
        + settings.smoothness * terms["smoothness"]
        + settings.distillation * terms["distillation"]
    )


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Put a network into eval mode for a while; anything but a module is left alone."""
    if not isinstance(network, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _explain(images: Tensor, flow: Tensor, settings: ObjectiveSettings) -> dict[str, Tensor]:
    """Return the terms that need only the flow, for both directions, `(2B,)` each."""
    covered = unoccluded(flow, swap(flow), settings.occlusion) * stays_inside(flow)
    penalty = census(images, warp(swap(images), flow))
    looked_at = inner(covered, CENSUS_BORDER)
    photometric = masked_mean_each(penalty, looked_at)
    share = masked_mean_each(covered, inner(torch.ones_like(covered), CENSUS_BORDER))
    return {
        "photometric": photometric,
        "photometric_charged": share * photometric + (1 - share) * settings.uncovered_charge,
        "smoothness": smoothness(images, flow, settings.smoothness_order),
        "covered": share,
    }


def _distil(
    network: FlowNetwork,
    images: Tensor,
    flow: Tensor,
    settings: ObjectiveSettings,
    iterations: int,
) -> Tensor:
    """Return how far a student that sees less differs from its teacher's `flow`, `(2B,)`."""
    margin = settings.student_margin
    image1, image2 = student_view(images, margin).chunk(2)
    student = torch.cat(network.bidirectional(image1, image2, iterations))
    mask = teacher_mask(flow, swap(flow), settings)
    mask = mask * student_mask(student, swap(student), settings)
    return distillation(student_flow(flow, margin), student, mask).mean((1, 2, 3))
