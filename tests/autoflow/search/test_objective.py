from dataclasses import fields, replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known import Moving, moving_target
from torch import Tensor

from autoflow.search.objective import (
    Measurement,
    Metric,
    check_metric,
    is_finite,
    measure_each,
    measure_target,
    weighted,
)
from autoflow.search.pairs import PairSettings, TargetPairs, choose_pairs
from selfflow.objective import ObjectiveSettings, measure
from selfflow.runs.errors import UserError
from selfflow.video import Target

TermName = Literal["photometric", "smoothness", "distillation"]


class Constant:
    """The flow (x, y) everywhere, and back."""

    def __init__(self, x: float, y: float, back: float = -1.0) -> None:
        self.flow, self.back = (x, y), back

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        flow = torch.tensor(self.flow).view(1, 2, 1, 1).expand(len(image1), 2, *image1.shape[-2:])
        return flow, self.back * flow


@pytest.fixture(scope="module")
def pairs() -> TargetPairs:
    return choose_pairs(moving_target(), PairSettings(count=3, side=48))


def test_omega_is_the_mean_over_pairs_of_the_weighted_terms(pairs: TargetPairs) -> None:
    metric = Metric(batch_size=2)
    network = Constant(1.5, 0.5)
    singles = [measure(network, batch, metric.terms) for batch in pairs.batches(1)]
    expected = sum(float(single["objective"]) for single in singles) / len(pairs)
    measured = measure_target(network, pairs, metric)
    assert measured.omega == pytest.approx(expected, rel=1e-5)
    weights = metric.terms
    total = weights.photometric * measured.photometric + weights.smoothness * measured.smoothness
    total += weights.distillation * measured.distillation
    assert measured.omega == pytest.approx(total, rel=1e-5)


class Guessing:
    """Flow that depends on where it looks, other backward than forward, the same every time."""

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        flow = torch.stack((image1[:, 0] - image2[:, 1], image1[:, 2]), 1)
        return 3 * flow, -2 * flow


def test_each_pair_is_measured_as_if_it_were_alone(pairs: TargetPairs) -> None:
    each = measure_each(Guessing(), pairs, Metric(batch_size=2))
    assert set(each) == {f.name for f in fields(Measurement)} - {"step"}
    for values in each.values():
        assert values.shape == (3,)
        assert values.dtype == torch.float64
    for place, batch in enumerate(pairs.batches(1)):
        alone = measure(Guessing(), batch, ObjectiveSettings())
        assert float(each["omega"][place]) == pytest.approx(float(alone["objective"]), rel=1e-5)
        for name in ("photometric", "photometric_charged", "smoothness", "distillation", "covered"):
            assert float(each[name][place]) == pytest.approx(float(alone[name]), rel=1e-5)
        flow, _ = Guessing().bidirectional(batch.image1, batch.image2)
        error = (flow - torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)).norm(dim=1).mean()
        assert float(each["aepe"][place]) == pytest.approx(float(error), rel=1e-5)


def test_a_measurement_is_the_means_of_each(pairs: TargetPairs) -> None:
    each = measure_each(Guessing(), pairs, Metric())
    measured = measure_target(Guessing(), pairs, Metric(), step=7)
    assert measured.step == 7
    assert measured.as_dict() == pytest.approx(
        {"step": 7} | {name: float(values.mean()) for name, values in each.items()}
    )


def test_the_error_is_the_mean_over_pairs_whose_flow_is_known() -> None:
    target = Target("mixed", (Moving("known"), Moving("unknown", labelled=False)))
    pairs = choose_pairs(target, PairSettings(count=4, side=48))
    each = measure_each(Constant(1, 1), pairs, Metric(batch_size=3))
    unknown = torch.tensor([address.sequence == "unknown" for address in pairs.addresses])
    assert torch.equal(each["aepe"].isnan(), unknown)
    assert measure_target(Constant(1, 1), pairs, Metric()).aepe == pytest.approx(1)


WEIGHTS = st.builds(
    ObjectiveSettings,
    photometric=st.floats(0, 10),
    smoothness=st.floats(0, 10),
    distillation=st.floats(0, 10),
    charge_uncovered=st.booleans(),
)


@settings(max_examples=5)
@given(terms=WEIGHTS)
def test_other_weights_can_be_tried_on_what_was_measured(terms: ObjectiveSettings) -> None:
    pairs = choose_pairs(moving_target(), PairSettings(count=2, side=48))
    stored = measure_target(Guessing(), pairs, Metric(terms=ObjectiveSettings(distillation=0)))
    again = measure_target(Guessing(), pairs, Metric(terms=terms))
    assert weighted(stored, terms) == again.omega


def test_the_weighted_sum_by_hand() -> None:
    measured = Measurement(1, 0.0, 2.0, 3.0, 5.0, 7.0, 0.5, None)
    terms = ObjectiveSettings(photometric=1, smoothness=10, distillation=100)
    assert weighted(measured, terms) == 2 + 50 + 700
    charged = terms.model_copy(update={"charge_uncovered": True})
    assert weighted(measured, charged) == 3 + 50 + 700


@pytest.mark.parametrize("charged", [False, True])
@pytest.mark.parametrize("name", ["photometric", "smoothness", "distillation"])
def test_a_term_alone_is_omega_when_asked_for(
    pairs: TargetPairs, name: TermName, charged: bool
) -> None:
    metric = Metric(name=name, terms=ObjectiveSettings(charge_uncovered=charged, smoothness=0))
    measured = measure_target(Guessing(), pairs, metric)
    attribute = "photometric_charged" if charged and name == "photometric" else name
    assert measured.omega == getattr(measured, attribute) > 0
    together = measure_target(Guessing(), pairs, Metric(terms=metric.terms))
    assert replace(measured, omega=0.0) == replace(together, omega=0.0)


def test_true_flow_has_the_lowest_omega_and_no_endpoint_error(pairs: TargetPairs) -> None:
    true = measure_target(Constant(2, 1), pairs, Metric())
    wrong = [measure_target(Constant(*flow), pairs, Metric()) for flow in ((0, 0), (1, 1), (2, 0))]
    assert true.aepe == pytest.approx(0, abs=1e-6)
    assert all(true.omega < other.omega for other in wrong)
    assert wrong[0].aepe == pytest.approx(5**0.5, rel=1e-5)


def test_aepe_is_minimised_only_when_asked_for(pairs: TargetPairs) -> None:
    network = Constant(1, 1)
    assert measure_target(network, pairs, Metric(name="aepe")).omega == pytest.approx(1)
    unlabelled = choose_pairs(moving_target(labelled=False), PairSettings(count=3, side=48))
    blind, seeing = (measure_target(network, each, Metric()) for each in (unlabelled, pairs))
    assert blind.aepe is None
    assert blind.omega == seeing.omega


def test_charging_uncovered_pixels_punishes_flow_that_hides(pairs: TargetPairs) -> None:
    hiding = Constant(4, -3, back=1.0)  # forward and backward flow agree nowhere
    masked = measure_target(hiding, pairs, Metric())
    assert masked.covered == 0
    assert masked.photometric == 0
    charged = Metric(terms=ObjectiveSettings(charge_uncovered=True))
    true = measure_target(Constant(2, 1), pairs, charged)
    assert masked.omega < measure_target(Constant(2, 1), pairs, Metric()).omega
    assert measure_target(hiding, pairs, charged).omega > true.omega


def test_aepe_needs_known_flow() -> None:
    unlabelled = choose_pairs(moving_target(labelled=False), PairSettings(count=2, side=48))
    with pytest.raises(UserError, match="known flow"):
        check_metric(Metric(name="aepe"), unlabelled)


def test_a_nan_is_no_measurement(pairs: TargetPairs) -> None:
    assert is_finite(measure_target(Constant(2, 1), pairs, Metric()))
    assert not is_finite(measure_target(Constant(float("nan"), 1), pairs, Metric()))
