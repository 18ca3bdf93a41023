"""The evidence in one picture: four panels, one for each question."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.analysis import SCORES, Row, Values, pool_values
from benchmarks.evidence.markdown import NAMES
from benchmarks.evidence.outcomes import ERROR, OMEGA, Outcomes
from benchmarks.evidence.pool import DEFAULT, FOUND, MIXED
from benchmarks.evidence.recipe import Recipe
from benchmarks.evidence.trainings import Training
from selfflow.runs.run import atomic_write

BLUE, ORANGE, GREY, INK = "#2166ac", "#d6604d", "#999999", "#222222"
RATIOS = (0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5)
COLORS = (BLUE, ORANGE, "#4d9221", "#762a83")


def write_picture(
    path: Path, recipe: Recipe, outcomes: Outcomes, tables: Mapping[str, Sequence[Row]]
) -> None:
    """Write the picture of the four tables."""
    figure = Figure(figsize=(11, 8), layout="constrained", dpi=110)
    panels = figure.subplots(2, 2)
    for axes in panels.flat:
        axes.grid(color="#e5e5e5", lw=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    _scatter(panels[0, 0], recipe, outcomes)
    _rhos(panels[0, 1], recipe, tables["correlation"])
    _compared(panels[1, 0], recipe, tables["comparison"])
    _costs(panels[1, 1], tables["cost"])
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _scatter(axes: Axes, recipe: Recipe, outcomes: Outcomes) -> None:
    target = recipe.targets[0].name
    sets = pool_values(recipe, outcomes, target)
    for kind, color, label in (
        ("wide", GREY, "random sets"),
        ("near", BLUE, "near the default"),
    ):
        _points(axes, [v for n, v in sets.items() if n.startswith(kind)], label, color=color)
    seeds = [
        outcomes.final(Training(DEFAULT, "short", seed), target)
        for seed in range(recipe.noise_seeds)
    ]
    known = [each for each in seeds if each is not None]
    _points(axes, known, "default, each seed", facecolors="none", edgecolors=ORANGE)
    axes.set_title(f"Ω and end-point error, {target}", loc="left", fontsize=11)
    axes.set_xlabel("Ω, no labels used")
    axes.set_ylabel("end-point error, px, geometric mean")
    axes.legend(frameon=False, fontsize=9)


def _points(axes: Axes, values: Sequence[Values], label: str, **look: str) -> None:
    x, y = [each[OMEGA] for each in values], [math.exp(each[ERROR]) for each in values]
    axes.scatter(x, y, 36, label=label, **look)  # type: ignore[arg-type]


def _rhos(axes: Axes, recipe: Recipe, rows: Sequence[Row]) -> None:
    targets = [each.name for each in recipe.targets]
    for number, target in enumerate(targets):
        label: str | None = target
        for place, score in enumerate(SCORES):
            (row,) = (
                r for r in rows if (r["target"], r["sets"], r["score"]) == (target, "all", score)
            )
            if row.get("rho") is None:
                continue
            height = -place + 0.2 * ((len(targets) - 1) / 2 - number)
            color = COLORS[number % len(COLORS)]
            axes.plot([row["low"], row["high"]], [height] * 2, color=color, lw=1.6)
            axes.plot(row["rho"], height, "o", color=color, ms=5, label=label)
            label = None
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks([-place for place in range(len(SCORES))], [NAMES[s] for s in SCORES])
    axes.set_xlim(-1.02, 1.02)
    axes.set_ylim(0.5 - len(SCORES), 0.5)
    axes.set_title("Spearman's ρ with the error, over all sets", loc="left", fontsize=11)
    _legend(axes)


def _compared(axes: Axes, recipe: Recipe, rows: Sequence[Row]) -> None:
    targets = [each.name for each in recipe.targets]
    names = (FOUND, MIXED, "random")
    for number, target in enumerate(targets):
        label: str | None = target
        for place, name in enumerate(names):
            (row,) = (r for r in rows if (r["target"], r["sets"]) == (target, name))
            if row["ratio"] is None:
                continue
            height = -place + 0.2 * ((len(targets) - 1) / 2 - number)
            color = COLORS[number % len(COLORS)]
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [height] * 2, color=color, lw=1.6)
            axes.plot(row["ratio"], height, "o", color=color, ms=5, label=label)
            label = None
    axes.axvline(1, color=INK, lw=0.8)
    axes.set_xscale("log")
    axes.set_xticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
    axes.minorticks_off()
    ends = [row[end] for row in rows for end in ("low", "high") if row[end] is not None]
    axes.set_xlim(0.95 * min([0.9, *ends]), 1.05 * max([1.1, *ends]))
    axes.set_ylim(0.5 - len(names), 0.5)
    axes.set_yticks([-place for place in range(len(names))], [NAMES[name] for name in names])
    title = "End-point error as a multiple of the default's, seeds paired"
    axes.set_title(title, loc="left", fontsize=11)
    _legend(axes)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        below = (0.5, -0.08)
        axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=below, ncols=4)


def _costs(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Cost to close 95 % of the gap in Ω", loc="left", fontsize=11)
    if not rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", color=GREY)
        return
    axes.barh([row["way"] for row in rows][::-1], [row["steps"] for row in rows][::-1], color=BLUE)
    axes.set_xlabel("expected steps of training")
