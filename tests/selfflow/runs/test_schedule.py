import math

import pytest
import torch

from selfflow.runs.schedule import constant_then_halve, cosine, one_cycle, ramp


def test_one_cycle_is_torchs_up_to_the_last_thousandth() -> None:
    steps, peak = 200, 4e-4
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    twin = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=steps, pct_start=0.05, anneal_strategy="linear"
    )
    for step in range(steps):
        # torch counts its phases one step shorter
        assert one_cycle(step, steps, peak) == pytest.approx(
            twin.get_last_lr()[0], abs=0.11 * peak if step < 12 else 0.01 * peak
        )
        optimizer.step()
        twin.step()
    assert one_cycle(10, steps, peak) == pytest.approx(peak)
    assert one_cycle(0, steps, peak) == pytest.approx(peak / 25)
    assert one_cycle(steps, steps, peak) == 0


def test_cosine_is_torchs_after_its_warm_up() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    twin = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.5)
    for step in range(50):
        assert cosine(step + 10, 60, 2.0, 0.5, warmup=10) == pytest.approx(twin.get_last_lr()[0])
        optimizer.step()
        twin.step()
    assert [cosine(step, 60, 2.0, warmup=4) for step in range(4)] == [0.5, 1.0, 1.5, 2.0]
    assert cosine(1000, 60, 2.0, 0.5) == 0.5


def test_cosine_without_warm_up_is_byols_momentum() -> None:
    for k in range(101):
        expected = 1 - (1 - 0.97) * (math.cos(math.pi * k / 100) + 1) / 2
        assert cosine(k, 100, 0.97, 1.0) == pytest.approx(expected)


def test_constant_then_halve_is_smurfs() -> None:
    for step in (0, 30_000, 62_500):
        assert constant_then_halve(step, 75_000, 2e-4) == 2e-4
    for halvings in range(6):
        step = 62_500 + 2_500 * halvings
        assert constant_then_halve(step, 75_000, 2e-4) == pytest.approx(2e-4 / 2**halvings)


def test_a_ramp_rises_from_its_start() -> None:
    assert [ramp(step, 2, 4) for step in range(8)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [ramp(step, 2, 0) for step in (1, 2, 3)] == [0, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_schedules_stay_within_zero_and_the_peak(steps: int) -> None:
    for step in range(steps + 1):
        for value in (
            one_cycle(step, steps, 1.0),
            cosine(step, steps, 1.0, warmup=1),
            constant_then_halve(step, steps, 1.0),
        ):
            assert 0 <= value <= 1
