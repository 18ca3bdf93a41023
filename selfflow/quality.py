"""What can be known of a flow without ground truth, for each pair of frames of a video."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from selfflow.census import census, grey
from selfflow.flow import round_trip_error, stays_inside, visible_by_consistency, warp
from selfflow.losses import inner, masked_mean
from selfflow.objective import CENSUS_BORDER
from selfflow.rowfile import read_rows
from selfflow.runs.run import atomic_write

MEANINGS = {
    "motion": "mean length of the flow, px",
    "forward_backward": "mean of |f + b(x + f)| where f stays inside the frame, px",
    "not_visible": "pixels that leave the frame or fail the forward-backward check, %",
    "census": "mean census penalty of the warped frame, visible pixels",
    "l1": "mean difference of grey levels (0 to 255) to the warped frame, visible pixels",
    "l1_still": "the same without motion, all pixels: what the flow is to explain",
}
COLUMNS = ("frame", *MEANINGS)
_PLOTTED = 1000  # points at most; each is a mean over neighbours, with the worst as a shade


def measure_quality(
    image1: Tensor, image2: Tensor, forward: Tensor, backward: Tensor
) -> dict[str, float]:
    """Return the measures of `MEANINGS` for one pair, `(1, 3, H, W)` and `(1, 2, H, W)`.

    Photometric errors are taken where forward and backward flow agree, so they are to be read
    beside `not_visible`; NaN where no pixel is left.
    """
    visible = visible_by_consistency(forward, backward)
    warped = warp(image2, forward)
    difference = (grey(image1) - grey(warped)).abs() * 255
    still = (grey(image1) - grey(image2)).abs() * 255
    returned = round_trip_error(forward, backward)[0].sqrt()
    within = inner(visible, CENSUS_BORDER) if min(image1.shape[-2:]) > 2 * CENSUS_BORDER else None
    return {
        "motion": float(forward.square().sum(1).sqrt().mean()),
        "forward_backward": _mean(returned, stays_inside(forward)),
        "not_visible": 100 * (1 - float(visible.float().mean())),
        "census": float("nan") if within is None else _mean(census(image1, warped), within),
        "l1": _mean(difference, visible),
        "l1_still": float(still.mean()),
    }


def _mean(values: Tensor, mask: Tensor) -> float:
    return float(masked_mean(values, mask)) if bool(mask.any()) else float("nan")


@dataclass(frozen=True)
class QualitySummary:
    """Quality over a video.

    Attributes:
        pairs: that have flow.
        means: of each measure, over the pairs where it is known.
        worst: frames with the largest forward-backward error, worst first, and that error in px.
    """

    pairs: int
    means: dict[str, float]
    worst: dict[str, float]


def summarize(path: Path, worst: int = 5) -> QualitySummary:
    """Return the summary of a table of quality, reading a row at a time."""
    totals = dict.fromkeys(MEANINGS, 0.0)
    known = dict.fromkeys(MEANINGS, 0)

    def errors() -> Iterator[tuple[float, str]]:
        for row in read_rows(path, COLUMNS):
            for name in MEANINGS:
                if row[name]:
                    totals[name] += float(row[name])
                    known[name] += 1
            if row["forward_backward"]:
                yield float(row["forward_backward"]), row["frame"]

    largest = nlargest(worst, errors())
    means = {name: totals[name] / known[name] for name in MEANINGS if known[name]}
    return QualitySummary(known["motion"], means, {frame: error for error, frame in largest})


def plot_quality(table: Path, picture: Path) -> None:
    """Draw a table of quality over time as a PNG, in memory that its length does not change."""
    from matplotlib.figure import Figure

    count = sum(1 for _ in read_rows(table, COLUMNS))
    bins = min(count, _PLOTTED)
    shown = ("forward_backward", "not_visible", "census", "l1")
    totals, known, highest = (np.zeros((len(shown), bins)) for _ in range(3))
    for number, row in enumerate(read_rows(table, COLUMNS)):
        place = number * bins // count
        for line, name in enumerate(shown):
            if row[name]:
                value = float(row[name])
                totals[line, place] += value
                known[line, place] += 1
                highest[line, place] = max(highest[line, place], value)
    means = np.divide(totals, known, out=np.full_like(totals, np.nan), where=known > 0)
    highest[known == 0] = np.nan
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes: Any = figure.subplots(len(shown), 1, sharex=True)
    time = (np.arange(bins) + 0.5) * count / max(bins, 1) - 0.5
    for line, name in enumerate(shown):
        axes[line].plot(time, means[line], linewidth=1, marker="." if bins < 100 else None)
        axes[line].fill_between(time, means[line], highest[line], alpha=0.3, linewidth=0)
        axes[line].set_title(f"{name}: {MEANINGS[name]}", fontsize=9, loc="left")
        axes[line].set_ylim(bottom=0)
    axes[-1].set_xlabel("pair; gaps are shot cuts")
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    with atomic_write(picture) as temporary:
        temporary.write_bytes(drawn.getvalue())
