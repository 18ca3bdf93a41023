"""Ω: what a search minimises, measured on the target's stored pairs.

Ω_S-AF = w₁ photometric + w₂ smoothness + w₃ distillation (Huang et al., CVPR 2023) sees no label.
Ω_AF = AEPE (Sun et al., CVPR 2021) is for targets whose flow is known. Where it is, AEPE is
recorded beside Ω_S-AF, and never enters it. Each term of Ω_S-AF can be minimised alone, to see what
the others are good for: smoothness alone is lowest where a network sees no motion at all.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from pydantic import Field, model_validator

from autoflow.search.pairs import TargetPairs
from selfflow.losses import masked_mean_each
from selfflow.metrics import endpoint_error
from selfflow.objective import (
    FlowNetwork,
    ObjectiveSettings,
    evaluating,
    measure,
    weighted_sum,
)
from selfflow.pairs import Pairs
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError

METRICS = ("s-af", "aepe", "photometric", "smoothness", "distillation")
TERMS = ("photometric", "smoothness", "distillation")  # those that have a weight
# SMURF's (Stone et al., CVPR 2021), by the order of smoothness: 1 for Sintel, 2 for KITTI. S-AF
# takes SMURF's terms, and its paper tells no weights.
PUBLISHED = {
    1: {"photometric": 1.0, "smoothness": 2.5, "distillation": 0.3},
    2: {"photometric": 1.0, "smoothness": 2.0, "distillation": 0.3},
}


class Metric(Config):
    """What is minimised, and how it is measured."""

    name: Literal["s-af", "aepe", "photometric", "smoothness", "distillation"] = Field(
        "s-af",
        description="s-af: self-supervised terms; aepe: endpoint error, needs known flow; or one "
        "term alone",
    )
    iterations: int = Field(
        12, ge=1, description="of RAFT when it is measured; the last one counts"
    )
    batch_size: int = Field(4, ge=1, description="pairs that are measured at once")
    weights: Literal["user", "published", "balanced"] = Field(
        "user",
        description="of s-af: those in terms; SMURF's; or 1/spread of each term over a few "
        "networks that are trained first (calibration), relative to photometric",
    )
    terms: ObjectiveSettings = ObjectiveSettings()

    @model_validator(mode="after")
    def _check_balance(self) -> "Metric":
        if self.weights == "balanced" and self.terms.photometric == 0:
            raise ValueError("metric.terms.photometric is 0, and balanced weights are relative")
        return self

    @property
    def is_settled(self) -> bool:
        """Whether the weights are known; balanced ones have to be measured."""
        return self.name != "s-af" or self.weights != "balanced"

    def settled(self, weights: Mapping[str, float] | None = None) -> "Metric":
        """Return the metric with weights that are known: these, or those that `terms` has."""
        if self.is_settled:
            return self
        terms = self.terms.model_copy(update=dict(weights or {}))
        return self.model_copy(update={"weights": "user", "terms": terms})

    def objective(self) -> ObjectiveSettings:
        """Return the terms with the weights that they have in Ω: of one term alone 1, and 0."""
        if not self.is_settled:
            raise ValueError("the balanced weights are not known yet")
        if self.name in TERMS:
            return self.terms.model_copy(update={term: float(term == self.name) for term in TERMS})
        if self.weights == "published":
            return self.terms.model_copy(update=PUBLISHED[self.terms.smoothness_order])
        return self.terms


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
            f"--metric aepe needs a target with known flow, {pairs.target.name} has none; use s-af"
        )


@torch.no_grad()
def measure_each(
    network: FlowNetwork, pairs: TargetPairs, metric: Metric
) -> dict[str, torch.Tensor]:
    """Return Ω and its raw terms for each pair, `(N,)` float64 on the CPU, in the list's order.

    Keys: those of `Measurement` but `step`. `aepe` is NaN for pairs whose flow is not known. All
    terms are measured, whatever their weights, so that others can be tried afterwards. The network
    is in eval mode while it is measured.

    Measured again, a network has the same values: on a CPU bit for bit, as long as torch has as
    many threads as before. With another number of threads, another batch size or on a GPU, sums
    are rounded otherwise, and Ω may differ by a ten-thousandth (not tried on a GPU yet). Training
    adds to such differences step by step.
    """
    objective = metric.objective()
    # A term without weight would not be measured.
    measured = objective.model_copy(update={"distillation": 1.0})
    values: dict[str, list[torch.Tensor]] = defaultdict(list)
    for batch in pairs.batches(metric.batch_size):
        terms = measure(network, batch, measured, metric.iterations)
        del terms["objective"]
        terms["aepe"] = _endpoint_errors(network, batch, metric.iterations)
        for name, each in terms.items():
            values[name].append(each.double().cpu())
    found = {name: torch.cat(each) for name, each in values.items()}
    omega = found["aepe"] if metric.name == "aepe" else weighted_sum(found, objective)
    return {"omega": omega, **found}


def measure_target(
    network: FlowNetwork, pairs: TargetPairs, metric: Metric, step: int = 0
) -> Measurement:
    """Return the means of `measure_each` over the stored pairs, of AEPE over those with known flow.

    Raises:
        ValueError: the metric is AEPE, and no flow is known.
    """
    each = measure_each(network, pairs, metric)
    means = {name: float(values.mean()) for name, values in each.items() if name != "aepe"}
    known = each["aepe"][~each["aepe"].isnan()]
    aepe = float(known.mean()) if len(known) else None
    measured = Measurement(step=step, **means, aepe=aepe)
    if metric.name != "aepe":
        return replace(measured, omega=weighted(measured, metric.objective()))
    if aepe is None and not pairs.has_flow:
        raise ValueError("the metric is AEPE, and the pairs have no flow")
    return replace(measured, omega=math.nan if aepe is None else aepe)


def weighted(measurement: Measurement, objective: ObjectiveSettings) -> float:
    """Return Ω of a measurement's raw terms with the weights of `objective`.

    Only the weights and `charge_uncovered` matter: what is charged, the masks and the order of
    smoothness are those with which the terms were measured.
    """
    charged = objective.charge_uncovered
    photometric = measurement.photometric_charged if charged else measurement.photometric
    return (
        objective.photometric * photometric
        + objective.smoothness * measurement.smoothness
        + objective.distillation * measurement.distillation
    )


def is_finite(measurement: Measurement) -> bool:
    """Return whether every number of a measurement is one."""
    values = (value for value in measurement.as_dict().values() if value is not None)
    return all(math.isfinite(value) for value in values)


def _endpoint_errors(network: FlowNetwork, batch: Pairs, iterations: int) -> torch.Tensor:
    """Return each pair's mean endpoint error over known pixels, `(B,)`; NaN where none is known."""
    if batch.flow is None:
        return torch.full((len(batch),), math.nan)
    with evaluating(network):
        flow, _ = network.bidirectional(batch.image1, batch.image2, iterations)
    error = endpoint_error(flow, batch.flow)
    valid = torch.ones_like(error, dtype=torch.bool) if batch.valid is None else batch.valid
    return masked_mean_each(error, valid).where(valid.flatten(1).any(1), math.nan)
