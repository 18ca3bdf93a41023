"""The look that all charts of a report share, as SVG that stands alone."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2733", "#66727f", "#e3e8ed"
BLUE, ORANGE, GREY, RED, LIGHT = "#2563a8", "#d9722b", "#a9b4bf", "#b3382c", "#9dc1e8"
# Half of a desktop page and all of a phone's, so that letters stay readable on both.
SIZE = (4.6, 3.2)
# A third of a desktop page; letters have the same size as in the larger ones.
SMALL = (3.7, 2.9)
_TOLERATED = 10.0  # spreads of the middle half beyond which a value would flatten all others


def svg(draw: Callable[[Axes], None], size: tuple[float, float] = SIZE) -> str:
    """Return a chart as the source of an image; the same drawing gives the same text."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GRID)
    draw(axes)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(MUTED)
        text.set_fontsize(10)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "autoflow"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def points(
    axes: Axes,
    pairs: Sequence[tuple[float, float]],
    color: str,
    *,
    marker: str = "o",
    label: str | None = None,
    size: float = 28,
    order: float = 2.5,
) -> None:
    """Draw (x, y) pairs, if there are any."""
    if pairs:
        x, y = zip(*pairs, strict=True)
        look: dict[str, Any] = {"c": color, "linewidths": 1.1}
        if marker != "x":
            look |= {"linewidths": 0.6, "edgecolors": "white"}
        axes.scatter(x, y, s=size, marker=marker, label=label, zorder=order, **look)


def legend(axes: Axes, columns: int = 0, order: Callable[[str], int] = lambda label: 0) -> None:
    """Name what is drawn, where anything has a name.

    Args:
        axes: with labelled things in them.
        columns: so many, above the chart; 0: inside of it, wherever there is room.
        order: what the labels are sorted by.
    """
    handles, labels = axes.get_legend_handles_labels()
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": INK}
    shown = sorted(range(len(labels)), key=lambda i: order(labels[i]))
    named = [handles[i] for i in shown], [labels[i] for i in shown]
    if columns:
        look |= {"loc": "outside upper center", "ncols": columns}
        look |= {"columnspacing": 1.2, "handlelength": 1.6}
    if labels:
        (axes.figure if columns else axes).legend(*named, **look)


def keep_in_view(axes: Axes, values: Sequence[float]) -> None:
    """End the y axis where values far above all others begin, and say how many there are."""
    if len(values) < 4:
        return
    low, first, third, high = np.quantile(values, [0, 0.25, 0.75, 1])
    limit = third + _TOLERATED * (third - first)
    if high <= limit or third == first:
        return
    inside = max(value for value in values if value <= limit)
    margin = 0.06 * (inside - low)
    axes.set_ylim(low - margin, inside + margin)
    beyond = sum(value > limit for value in values)
    text = f"{beyond} above, up to {high:.3g}"
    axes.text(0.99, 0.99, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5,
              color=MUTED)  # fmt: skip
