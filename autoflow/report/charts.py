"""The pictures of a search's report, as SVG that stands alone."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoflow.results import Agreement, TrialResult, measured_steps, points_at

INK, MUTED, GRID = "#1c2733", "#66727f", "#e3e8ed"
BLUE, ORANGE, GREY = "#2563a8", "#d9722b", "#a9b4bf"
RANKS = ("best", "number 2", "number 3", "default")
# Half of a desktop page and all of a phone's, so that letters stay readable on both.
SIZE = (5.4, 3.5)


def course(trials: Sequence[TrialResult]) -> str:
    """Draw Ω of every trial in order, and the best one so far."""

    def draw(axes: Axes) -> None:
        for state, color, marker in (("pruned", GREY, "x"), ("complete", BLUE, "o")):
            points = [(t.number, t.omega) for t in trials if t.state == state and t.course]
            _points(axes, points, color, marker=marker, label=state)
        best, numbers, lowest = [], [], float("inf")
        for trial in trials:
            if trial.state == "complete":
                lowest = min(lowest, trial.omega)
                numbers.append(trial.number)
                best.append(lowest)
        if best:
            numbers.append(max(trial.number for trial in trials))
            best.append(lowest)
            axes.step(numbers, best, where="post", color=ORANGE, lw=1.8, label="best so far")
        axes.set_xlabel("trial (0 is the default set)")
        axes.set_ylabel("Ω, last measurement")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=9)

    return _svg(draw)


def within(trials: Sequence[TrialResult], best: Sequence[int]) -> str:
    """Draw how Ω falls within each trial; those in `best` and the default stand out."""

    def draw(axes: Axes) -> None:
        for trial in trials:
            steps = [measured.step for measured in trial.course]
            omegas = [measured.omega for measured in trial.course]
            rank = best.index(trial.number) if trial.number in best else None
            if rank is not None:
                label = f"{RANKS[rank]} (trial {trial.number})"
                color, width, order = ORANGE, 2.2 - 0.6 * rank, 3
            elif trial.number == 0:
                label, color, width, order = "default (trial 0)", INK, 1.8, 2
            else:
                label, color, width, order = "_", GREY, 0.9, 1
            axes.plot(steps, omegas, ".-", label=label, color=color, lw=width, zorder=order)
        axes.set_xlabel("steps of training")
        axes.set_ylabel("Ω")
        axes.set_xticks(_some(measured_steps(trials)))
        handles, labels = axes.get_legend_handles_labels()
        if labels:
            ranked = sorted(range(len(labels)), key=lambda i: RANKS.index(labels[i].split(" (")[0]))
            shown = [handles[i] for i in ranked], [labels[i] for i in ranked]
            axes.legend(*shown, frameon=False, fontsize=9)

    return _svg(draw)


def _some(steps: Sequence[int], most: int = 6) -> Sequence[int]:
    """Return the last of the steps and others that are evenly spread, `most` at most."""
    apart = -(-len(steps) // most)
    return steps[::-1][::apart] if steps else steps


def scatter(trials: Sequence[TrialResult], step: int, found: Agreement | None) -> str:
    """Draw Ω against AEPE of the trials after `step` steps."""

    def draw(axes: Axes) -> None:
        points = points_at(trials, step)
        default = next((points_at([t], step) for t in trials if t.number == 0), [])
        _points(axes, points, BLUE)
        if default:
            axes.scatter(*default[0], s=60, facecolors="none", edgecolors=INK, label="default")
            axes.legend(frameon=False, fontsize=9)
        if found is not None:
            text = f"Spearman ρ = {found.correlation:.2f}  ({found.trials} trials)"
            axes.set_title(text, fontsize=10, loc="left", color=INK)
        axes.set_xlabel("Ω, no labels used")
        axes.set_ylabel("endpoint error, px")

    return _svg(draw)


def covered(trials: Sequence[TrialResult]) -> str:
    """Draw Ω against the share of pixels that its photometric term looked at."""

    def draw(axes: Axes) -> None:
        points = [(100 * t.last.covered, t.omega) for t in trials if t.last is not None]
        _points(axes, points, BLUE)
        axes.set_xlabel("covered share of the pixels, %")
        axes.set_ylabel("Ω, last measurement")

    return _svg(draw)


def bars(values: Mapping[str, float], label: str) -> str:
    """Draw named shares as horizontal bars, the largest on top."""

    def draw(axes: Axes) -> None:
        names = list(values)[::-1]
        axes.barh(names, [values[name] for name in names], color=BLUE, height=0.62)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelsize=9)

    return _svg(draw, (SIZE[0], max(1.6, 0.6 + 0.27 * len(values))))


def _points(axes: Axes, points: Sequence[tuple[float, float]], color: str, **more: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, 28, color, **more)  # type: ignore[arg-type]


def _svg(draw: Callable[[Axes], None], size: tuple[float, float] = SIZE) -> str:
    """Return a chart as the source of an image."""
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
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
