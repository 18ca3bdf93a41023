"""Quality without ground truth: against loops, and on pairs whose answers are known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from selfflow.census import census
from selfflow.io import read_image
from selfflow.quality import COLUMNS, measure_quality, plot_quality, summarize
from selfflow.rowfile import RowFile


def bilinear(values: np.ndarray, x: float, y: float) -> np.ndarray:
    """values `(C, H, W)` at a point; zero outside."""
    total = np.zeros(len(values))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < values.shape[1] and 0 <= column < values.shape[2]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * values[:, row, column]
    return total


def test_measures_are_those_of_a_loop_over_the_pixels() -> None:
    torch.manual_seed(0)
    image1, image2 = torch.rand(2, 1, 3, 11, 13, dtype=torch.float64)
    shift = torch.tensor((2.3, -1.4), dtype=torch.float64).view(1, 2, 1, 1)
    forward = shift + torch.randn(1, 2, 11, 13, dtype=torch.float64) * 0.5
    backward = -shift + torch.randn(1, 2, 11, 13, dtype=torch.float64) * 0.5
    found = measure_quality(image1, image2, forward, backward)
    luma = np.array([0.299, 0.587, 0.114])
    one, two, f, b = (value[0].numpy() for value in (image1, image2, forward, backward))
    errors, differences, seen = [], [], np.zeros((11, 13), bool)
    warped = np.zeros((3, 11, 13))
    for y in range(11):
        for x in range(13):
            to = x + f[0, y, x], y + f[1, y, x]
            back = bilinear(b, *to)
            error = np.hypot(*(f[:, y, x] + back))
            warped[:, y, x] = bilinear(two, *to)
            if 0 <= to[0] <= 12 and 0 <= to[1] <= 10:
                errors.append(error)
                limit = 0.01 * ((f[:, y, x] ** 2).sum() + (back**2).sum()) + 0.5
                if error**2 <= limit:
                    seen[y, x] = True
                    differences.append(255 * abs(luma @ (one[:, y, x] - warped[:, y, x])))
    assert 10 < seen.sum() < 130
    penalty = census(image1, torch.from_numpy(warped)[None])[0, 0].numpy()
    inside = np.zeros_like(seen)
    inside[3:-3, 3:-3] = True
    assert found["motion"] == pytest.approx(np.hypot(*f).mean())
    assert found["forward_backward"] == pytest.approx(np.mean(errors))
    assert found["not_visible"] == pytest.approx(100 * (1 - seen.mean()))
    assert found["l1"] == pytest.approx(np.mean(differences))
    assert found["census"] == pytest.approx(penalty[seen & inside].mean())
    still = 255 * np.abs(np.tensordot(luma, one - two, 1)).mean()
    assert found["l1_still"] == pytest.approx(still)


def test_the_true_shift_explains_the_pair_and_no_motion_does_not() -> None:
    torch.manual_seed(0)
    wide = torch.rand(1, 3, 40, 60)
    image1, image2 = wide[..., :50], wide[..., 3:53]
    flow = torch.zeros(1, 2, 40, 50)
    flow[:, 0] = -3
    right, wrong = (
        measure_quality(image1, image2, guess, -guess) for guess in (flow, torch.zeros_like(flow))
    )
    assert right["l1"] < 1e-3
    assert right["forward_backward"] == 0
    assert right["not_visible"] == pytest.approx(100 * 3 / 50, abs=1e-4)
    assert wrong["l1"] == pytest.approx(wrong["l1_still"], rel=1e-5)
    assert wrong["l1"] > 20
    assert wrong["census"] > right["census"] + 1


def test_where_nothing_is_visible_no_error_is_known() -> None:
    image1, image2 = torch.rand(2, 1, 3, 20, 20)
    away = torch.full((1, 2, 20, 20), 100.0)
    found = measure_quality(image1, image2, away, away)
    assert found["not_visible"] == 100
    assert all(math.isnan(found[name]) for name in ("forward_backward", "census", "l1"))


def table(path: Path, count: int) -> Path:
    rows = RowFile(path, COLUMNS)
    unknown = dict.fromkeys(COLUMNS, math.nan)
    for number in range(count):
        measured = dict.fromkeys(COLUMNS, float(number % 7))
        rows.append({**(unknown if number % 10 == 9 else measured), "frame": f"f{number}"})
    return path


def test_a_summary_leaves_out_what_is_unknown_and_names_the_worst(tmp_path: Path) -> None:
    found = summarize(table(tmp_path / "q.csv", 30), worst=3)
    known = [number % 7 for number in range(30) if number % 10 != 9]
    assert found.pairs == 27
    assert found.means["census"] == pytest.approx(np.mean(known))
    assert list(found.worst.values()) == [6, 6, 6]
    assert all(int(frame[1:]) % 7 == 6 for frame in found.worst)


@pytest.mark.parametrize("count", [1, 30, 2300])
def test_a_plot_of_any_length(tmp_path: Path, count: int) -> None:
    plot_quality(table(tmp_path / "q.csv", count), tmp_path / "q.png")
    assert read_image(tmp_path / "q.png").shape == (700, 1000, 3)
