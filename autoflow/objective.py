"""Ω: what a search minimises, measured on the target's stored pairs.

Ω_S-AF = w₁ photometric + w₂ smoothness + w₃ distillation (Huang et al., CVPR 2023) sees no label.
Ω_AF = AEPE (Sun et al., CVPR 2021) is for targets whose flow is known. Where it is, AEPE is
recorded beside Ω_S-AF, and never enters it.
"""

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from pydantic import Field

from autoflow.pairs import TargetPairs
from selfflow.losses import masked_mean_each
from selfflow.metrics import endpoint_error
from selfflow.objective import FlowNetwork, ObjectiveSettings, evaluating, measure
from selfflow.pairs import Pairs
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError


class Metric(Config):
    """What is minimised, and how it is measured."""

    name: Literal["s-af", "aepe"] = Field(
        "s-af", description="s-af: self-supervised terms; aepe: endpoint error, needs known flow"
    )
    iterations: int = Field(
        12, ge=1, description="of RAFT when it is measured; the last one counts"
    )
    batch_size: int = Field(4, ge=1, description="pairs that are measured at once")
    terms: ObjectiveSettings = ObjectiveSettings()


@dataclass(frozen=True)
class Measurement:
    """Ω and its terms after `step` steps, means over both directions and then over the pairs.

    Attributes:
        step: steps of training done.
        omega: what the search minimises.
        photometric: mean census penalty of the covered pixels.
        photometric_charged: likewise, uncovered pixels charged a constant.
        smoothness: edge-aware smoothness.
        distillation: difference of a student that sees less.
        covered: share of pixels that the photometric term looks at.
        aepe: mean endpoint error over known pixels, then over the pairs whose flow is known, px;
            None without any.
    """

    step: int
    omega: float
    photometric: float
    photometric_charged: float
    smoothness: float
    distillation: float
    covered: float
    aepe: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the values by name, for JSON."""
        return asdict(self)


def check_metric(metric: Metric, pairs: TargetPairs) -> None:
    """Raise UserError if `metric` needs flow that the target does not know."""
    if metric.name == "aepe" and not pairs.has_flow:
        raise UserError(
            f"--metric aepe needs a target with known flow, {pairs.target} has none; use s-af"
        )


@torch.no_grad()
def measure_target(
    network: FlowNetwork, pairs: TargetPairs, metric: Metric, step: int = 0
) -> Measurement:
    """Return Ω of `network` on the stored pairs; the network is in eval mode while measured."""
    values: dict[str, list[torch.Tensor]] = defaultdict(list)
    for batch in pairs.batches(metric.batch_size):
        terms = measure(network, batch, metric.terms, metric.iterations)
        if batch.flow is not None:
            terms["aepe"] = _endpoint_errors(network, batch, metric.iterations)
        for name, each in terms.items():
            values[name].append(each.double().cpu())
    means = {name: float(torch.cat(each).mean()) for name, each in values.items()}
    self_supervised, aepe = means.pop("objective"), means.pop("aepe", None)
    if metric.name == "aepe" and aepe is None:
        raise ValueError("the metric is AEPE, and the pairs have no flow")
    omega = aepe if metric.name == "aepe" and aepe is not None else self_supervised
    return Measurement(step=step, omega=omega, aepe=aepe, **means)


def is_finite(measurement: Measurement) -> bool:
    """Return whether every number of a measurement is one."""
    values = (value for value in measurement.as_dict().values() if value is not None)
    return all(math.isfinite(value) for value in values)


def _endpoint_errors(network: FlowNetwork, batch: Pairs, iterations: int) -> torch.Tensor:
    """Return each pair's mean endpoint error over known pixels, `(B,)`."""
    assert batch.flow is not None
    with evaluating(network):
        flow, _ = network.bidirectional(batch.image1, batch.image2, iterations)
    error = endpoint_error(flow, batch.flow)
    valid = torch.ones_like(error, dtype=torch.bool) if batch.valid is None else batch.valid
    return masked_mean_each(error, valid)
