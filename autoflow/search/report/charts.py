"""The charts of a report, each drawn from the rows of its table and from nothing else."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autoflow.search.report.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    RED,
    SIZE,
    SMALL,
    keep_in_view,
    legend,
    points,
    svg,
)
from autoflow.search.report.tables import Row

RANKS = ("best", "number 2", "number 3", "default")
_LOOKS = ("-", (0, (6, 2)), (0, (1.5, 1.5)))  # of the lines of the best trials
_STATES = (("pruned", GREY, "x"), ("complete", BLUE, "o"), ("running", LIGHT, "o"))
DASHES = (0, (4, 3))


def course(rows: Sequence[Row], against: str = "trial") -> str:
    """Draw the last Ω of every trial, and the best one so far.

    Args:
        rows: of `spending.course_rows`.
        against: "trial" or "steps": what the horizontal axis shows.
    """
    label = "trial" if against == "trial" else "steps of training, all trials together"

    def draw(axes: Axes) -> None:
        measured = [row for row in rows if row["omega"] is not None]
        for state, color, marker in _STATES:
            found = [(r[against], r["omega"]) for r in measured if r["state"] == state]
            points(axes, found, color, marker=marker, label=state)
        _best_so_far(axes, rows, against)
        default = next((row for row in measured if row["default"]), None)
        if default is not None and default["step"] == rows[-1]["best_step"]:
            axes.axhline(default["omega"], color=INK, lw=1, ls=DASHES, label="default set")
        keep_in_view(axes, [row["omega"] for row in measured if row["state"] != "failed"])
        axes.set_xlabel(label)
        axes.set_ylabel("Ω, last measurement")
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=against == "trial"))
        legend(axes, columns=4)

    return svg(draw)


def _best_so_far(axes: Axes, rows: Sequence[Row], against: str) -> None:
    """Draw a step line for each fidelity: Ω after more steps is not lower than after fewer."""
    label: str | None = "best so far"
    for step in dict.fromkeys(row["best_step"] for row in rows if row["best_step"]):
        part = [row for row in rows if row["best_step"] == step]
        x = [row[against] for row in part]
        axes.step(x, [r["best"] for r in part], where="post", color=ORANGE, lw=1.8, label=label)
        label = None


def within(rows: Sequence[Row], best: Sequence[int], default: int | None) -> str:
    """Draw how Ω falls within each trial; those in `best` and the default stand out.

    Args:
        rows: of `tables.measurement_rows`.
        best: numbers of the best trials, the best first.
        default: number of the default set's trial, or None.
    """
    by_trial: dict[int, list[Row]] = {}
    for row in rows:
        by_trial.setdefault(row["trial"], []).append(row)

    def draw(axes: Axes) -> None:
        for number, found in by_trial.items():
            start = by_trial.get(found[0]["parent"], [])[-1:]
            steps = [row["step"] for row in start + found]
            omegas = [row["omega"] for row in start + found]
            color = INK if number == default else ORANGE
            if number in best:
                rank = best.index(number)
                beside = ", the default" if number == default else ""
                label, look, width = f"{RANKS[rank]} (trial {number}{beside})", _LOOKS[rank], 1.8
            elif number == default:
                label, look, width = f"default (trial {number})", "-", 1.8
            else:
                label, color, look, width = "_", GREY, "-", 0.9
            order = 1 if color == GREY else 3 if color == ORANGE else 2
            axes.plot(
                steps, omegas, marker=".", ls=look, label=label, color=color, lw=width, zorder=order
            )
        keep_in_view(axes, [row["omega"] for row in rows])
        axes.set_xlabel("steps of training")
        axes.set_ylabel("Ω")
        axes.set_xticks(_some(sorted({row["step"] for row in rows})))
        legend(axes, columns=2, order=lambda label: RANKS.index(label.split(" (")[0]))

    return svg(draw)


def _some(steps: Sequence[int], most: int = 6) -> Sequence[int]:
    """Return the last of the steps and others that are evenly spread, `most` at most."""
    apart = -(-len(steps) // most)
    return steps[::-1][::apart] if steps else steps


def score_against_error(rows: Sequence[Row], score: str, default: int | None) -> str:
    """Draw one score against the endpoint error, from rows of `agreement.agreement_points`."""

    def draw(axes: Axes) -> None:
        points(axes, [(row[score], row["aepe"]) for row in rows], BLUE)
        for row in rows:
            if row["trial"] == default:
                axes.scatter(
                    row[score], row["aepe"], 60, "none", edgecolors=INK, label="default set"
                )
        keep_in_view(axes, [row["aepe"] for row in rows])
        axes.set_xlabel(f"{score}, no labels used")
        axes.set_ylabel("endpoint error, px")
        legend(axes)

    return svg(draw)


def covered(rows: Sequence[Row]) -> str:
    """Draw Ω against the share of pixels that its photometric term looked at, of measurements."""

    def draw(axes: Axes) -> None:
        points(axes, [(100 * row["covered"], row["omega"]) for row in rows], BLUE)
        keep_in_view(axes, [row["omega"] for row in rows])
        axes.set_xlabel("covered share of the pixels, %")
        axes.set_ylabel("Ω")

    return svg(draw)


def prediction(rows: Sequence[Row], step: int) -> str:
    """Draw Ω at one lower rung against Ω at the top, from rows of `rungs.prediction_points`."""

    def draw(axes: Axes) -> None:
        here = [(row["omega"], row["top"]) for row in rows if row["step"] == step]
        points(axes, here, BLUE)
        keep_in_view(axes, [top for _, top in here])
        axes.set_xlabel(f"Ω after {step} steps")
        axes.set_ylabel("Ω at the end")

    return svg(draw, SMALL)


def importance(rows: Sequence[Row], column: str = "rho") -> str:
    """Draw the strength of hyperparameters as bars, the first on top.

    Args:
        rows: of `importance.importances`, those to be shown.
        column: "rho", whose size is drawn beside the level of chance, or "ped_anova".
    """

    def draw(axes: Axes) -> None:
        heights = range(len(rows))[::-1]
        values = [row[column] for row in rows]
        signs = {"Ω rises with it": (BLUE, 1), "Ω falls with it": (ORANGE, -1)}
        if column != "rho":
            signs = {"_": (BLUE, 1)}
        for label, (color, sign) in signs.items():
            found = [(h, abs(v)) for h, v in zip(heights, values, strict=True) if v * sign > 0]
            bars = [v for _, v in found]
            axes.barh([h for h, _ in found], bars, 0.62, color=color, label=label)
        chance = "chance" if column == "rho" else "ped_anova_chance"
        axes.axvline(rows[0][chance], color=INK, lw=1, ls=DASHES, label="chance")
        axes.set_yticks(heights, [row["parameter"] for row in rows])
        axes.set_xlabel("|Spearman's ρ| with Ω" if column == "rho" else "share (PED-ANOVA)")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelsize=9, labelcolor=INK)
        legend(axes, columns=3)

    return svg(draw, (SIZE[0], max(1.9, 0.8 + 0.27 * len(rows))))


def slice_of(rows: Sequence[Row], name: str, unit: str, *, log: bool = False) -> str:
    """Draw Ω against one hyperparameter, from rows of `importance.slice_rows`.

    Crosses were pruned later, or failed if red. Trials that ended before Ω was measured are strokes
    at the upper edge, the default is the dashed line.
    """

    def draw(axes: Axes) -> None:
        here = [row for row in rows if row["parameter"] == name]
        measured = [row for row in here if row["omega"] is not None]
        for states, color, marker in (
            (("complete", "running"), BLUE, "o"),
            (("pruned",), ORANGE, "x"),
            (("failed",), RED, "x"),
        ):
            found = [(r["value"], r["omega"]) for r in measured if r["state"] in states]
            points(axes, found, color, marker=marker, size=22)
        keep_in_view(axes, [row["omega"] for row in measured])
        given_up = [row["value"] for row in here if row["omega"] is None]
        if given_up:
            edge, heights = axes.get_xaxis_transform(), [0.985] * len(given_up)
            axes.plot(given_up, heights, "|", ms=7, color=GREY, transform=edge)
        default = next((row["value"] for row in here if row["default"]), None)
        if default is not None:
            axes.axvline(default, color=INK, lw=1, ls=DASHES, zorder=0)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(unit or "value")
        axes.set_ylabel("Ω")

    return svg(draw, SMALL)


def lineage(rows: Sequence[Row]) -> str:
    """Draw who went on with whose network, from rows of `lineage.lineage_rows`."""
    known: Mapping[int, Row] = {row["trial"]: row for row in rows}

    def draw(axes: Axes) -> None:
        for row in rows:
            parent = known.get(row["parent"])
            if parent is not None:
                copied, winner = row["copied_member"] is not None, row["winner"]
                axes.plot(
                    [parent["generation"], row["generation"]],
                    [parent["member"], row["member"]],
                    color=ORANGE if winner else BLUE if copied else GREY,
                    lw=2.4 if winner else 1.2 if copied else 0.8,
                    zorder=3 if winner else 2 if copied else 1,
                )
        for winner, color in ((False, BLUE), (True, ORANGE)):
            found = [(r["generation"], r["member"]) for r in rows if r["winner"] == winner]
            points(axes, found, color, order=4)
        lost = [(r["generation"], r["member"]) for r in rows if r["state"] in ("failed", "pruned")]
        points(axes, lost, RED, marker="x", label="failed or pruned", size=60, order=5)
        for color, label in ((ORANGE, "the winner's line"), (BLUE, "copied another member")):
            axes.plot([], [], color=color, lw=2, label=label)
        axes.set_xlabel("generation")
        axes.set_ylabel("member")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        legend(axes, columns=3)

    members = len({row["member"] for row in rows})
    return svg(draw, (SIZE[0], min(6.0, 1.6 + 0.24 * members)))


def schedule(rows: Sequence[Row], most: int = 6) -> str:
    """Draw the winner's hyperparameters over its training, from rows of `lineage.schedule_rows`."""
    names = list(dict.fromkeys(row["parameter"] for row in rows))[:most]
    colors = (BLUE, ORANGE, INK, "#3c9d7c", "#8a5fb0", GREY)

    def draw(axes: Axes) -> None:
        for name, color in zip(names, colors, strict=False):
            here = [row for row in rows if row["parameter"] == name]
            steps = [step for row in here for step in (row["from_step"], row["to_step"])]
            places = [100 * row["place"] for row in here for _ in range(2)]
            axes.plot(steps, places, color=color, lw=1.8, label=name)
        axes.set_xlabel("steps of training")
        axes.set_ylabel("place in its range, %")
        axes.set_ylim(-3, 103)
        legend(axes, columns=2)

    return svg(draw, (SIZE[0], 4.2))
