import pytest
import torch
from known import moving_target
from torch import Tensor

from autoflow.objective import Metric, check_metric, is_finite, measure_target
from autoflow.pairs import PairSettings, TargetPairs, choose_pairs
from selfflow.objective import ObjectiveSettings, measure
from selfflow.runs.errors import UserError


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
