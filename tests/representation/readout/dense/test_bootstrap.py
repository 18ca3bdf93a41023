import numpy as np
import pytest
import torch

from representation.readout.dense.bootstrap import interval


def mean(totals: torch.Tensor) -> torch.Tensor:
    return totals[..., 1] / totals[..., 0]


def test_an_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() + 3
    tallies = torch.stack([torch.ones(400), values], 1)
    low, high = interval(tallies, mean, 2000)
    error = float(values.std()) / 20
    assert low == pytest.approx(float(values.mean()) - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(float(values.mean()) + 1.96 * error, abs=0.15 * error)
    assert interval(tallies, mean, 100) == interval(tallies, mean, 100)


def test_frames_that_are_alike_are_drawn_together() -> None:
    # Ten scenes of 40 equal frames: the interval is that of ten values.
    scenes = torch.randn(10, generator=torch.Generator().manual_seed(1)).double()
    values = scenes.repeat_interleave(40)
    tallies = torch.stack([torch.ones(400), values], 1)
    low, high = interval(tallies, mean, 2000, block=40)
    spread = float(scenes.std(correction=0)) / np.sqrt(10)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    narrow = interval(tallies, mean, 2000)
    assert narrow[1] - narrow[0] < 0.3 * (high - low)
