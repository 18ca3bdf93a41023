"""A comparison as a picture: a panel for each place, a bar for each encoder."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from representation.readout.comparison.table import Column, Comparison, Line
from selfflow.runs.run import atomic_write

SUFFIXES = (".png", ".svg", ".pdf")
ACROSS = 3  # panels side by side
WIDTH, BAR, AROUND = 5.0, 0.32, 1.3  # inches: a panel, a row, title and axis
OWN, THEIRS = "#4477aa", "#bbbbbb"


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture of one score at each place, see `_panels`.

    Bars are means, lines standard deviations over seeds, dots single seeds; grey bars are
    published.
    """
    panels = _panels(comparison)
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    longest = max(len(lines) for _, lines in panels)
    figure = Figure((WIDTH * across, (BAR * longest + AROUND) * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for place, (index, lines) in enumerate(panels):
        _panel(axes[place], comparison.columns[index], index, lines)
        axes[place].set_ylim(longest - 0.4, -0.6)
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=120)


def _panels(comparison: Comparison) -> list[tuple[int, list[Line]]]:
    """Return for each place the index of a score, and the lines that have it.

    The score that the most lines have, papers' included; of several such ones the first.
    """
    best: dict[str, tuple[int, list[Line]]] = {}
    for index, column in enumerate(comparison.columns):
        lines = [line for line in comparison.lines if index in line.cells]
        if len(lines) > len(best.get(column.title, (0, []))[1]):
            best[column.title] = index, lines
    return list(best.values())


def _panel(axes: Axes, column: Column, index: int, lines: Sequence[Line]) -> None:
    for row, line in enumerate(lines):
        spread = line.cells[index]
        axes.barh(row, spread.mean, color=THEIRS if line.published else OWN, height=0.7)
        if spread.deviation is not None:
            axes.errorbar(
                spread.mean, row, xerr=spread.deviation, color="black", capsize=3, linewidth=1
            )
            axes.plot(
                spread.values, [row] * len(spread.values), "o", color="white", markersize=3,
                markeredgecolor="black", markeredgewidth=0.7, zorder=3,
            )  # fmt: skip
    axes.set_yticks(range(len(lines)), [_name(line) for line in lines], fontsize=8)
    axes.set_xlabel(f"{column.score} {column.unit}".rstrip())
    axes.set_title(column.title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _name(line: Line) -> str:
    """Return the encoder's name with what tells it from others, over two lines."""
    if line.source is not None:
        paper, _, rest = line.source.partition(" (")
        table = rest.partition("), ")[2]
        return f"{line.name}, {line.network}, {line.trained_on}\npublished: {paper}, {table}"
    rest = ", ".join(filter(None, (line.network, line.note)))
    return f"{line.name}\n{rest if len(rest) <= 40 else rest[:37] + '...'}"
