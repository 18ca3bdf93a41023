"""`compare.html`: two searches side by side, in one file."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autoflow.search.report.charts import DASHES
from autoflow.search.report.comparison import Comparison
from autoflow.search.report.drawing import BLUE, ORANGE, SIZE, legend, svg
from autoflow.search.report.page import Figure, jpeg, render_page
from autoflow.search.report.tables import Row
from selfflow.runs.progress import format_duration

_SHOWN_CHANGES, _SHOWN_IMPORTANCES = 14, 12
_COLORS = (ORANGE, BLUE)
_SECONDS = ", s"
_SHARES = ("change", "share of the steps saved by pruning")


def render_comparison(found: Comparison, figures: Sequence[Figure] = ()) -> str:
    """Return two searches side by side as HTML.

    Args:
        found: what there is to say.
        figures: pictures of both.
    """
    return render_page(
        "compare.html",
        found=found,
        labels=(found.first.label, found.second.label),
        targets=list(dict.fromkeys(s.found.search.target for s in (found.first, found.second))),
        facts=[
            _fact(row)
            for row in found.tables["compare-facts"]
            if (row["first"], row["second"]) != (None, None)
        ],
        charts=comparison_charts(found),
        changes=[each.as_shown() for each in found.changes[:_SHOWN_CHANGES]],
        figures=[(figure, jpeg(figure.picture)) for figure in figures],
    )


def comparison_charts(found: Comparison) -> dict[str, str]:
    """Return the source of every chart that there are values for, by name."""
    column = "best" if found.comparable else "relative"
    rows = [row for row in found.tables["compare-course"] if row[column] is not None]
    drawn = {}
    if rows:
        labels = (found.first.label, found.second.label)
        drawn["steps"] = courses(rows, labels, "steps", column)
        drawn["time"] = courses(rows, labels, "seconds", column)
    if found.tables["compare-importance"]:
        drawn["importance"] = importances(
            found.tables["compare-importance"][:_SHOWN_IMPORTANCES],
            (found.first.label, found.second.label),
        )
    return drawn


def courses(rows: Sequence[Row], labels: Sequence[str], against: str, column: str) -> str:
    """Draw the best so far of two searches over their cost.

    Args:
        rows: of the table `compare-course`.
        labels: of the searches.
        against: "steps" or "seconds".
        column: "best", or "relative" to each search's own default set.
    """
    scale, name = 1.0, "steps of training"
    if against == "seconds":
        longest = max(row[against] for row in rows)
        scale, name = (3600.0, "hours") if longest > 7200 else (60.0, "minutes")

    def draw(axes: Axes) -> None:
        for label, color in zip(labels, _COLORS, strict=True):
            named: str | None = label
            mine = [row for row in rows if row["search"] == label]
            for step in dict.fromkeys(row["best_step"] for row in mine):
                part = [row for row in mine if row["best_step"] == step]
                x = [row[against] / scale for row in part]
                y = [row[column] for row in part]
                axes.step(x, y, where="post", color=color, lw=1.8, label=named)
                axes.plot(x[-1:], y[-1:], "o", color=color, ms=5)
                named = None
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(f"{name}, all workers together")
        axes.set_ylabel("best Ω so far" if column == "best" else "best Ω / Ω of the default set")
        legend(axes, columns=2)

    return svg(draw)


def importances(rows: Sequence[Row], labels: Sequence[str]) -> str:
    """Draw the rank correlations of both searches as pairs of bars, with both levels of chance."""

    def draw(axes: Axes) -> None:
        heights = range(len(rows))[::-1]
        for side, label, color, up in zip(
            ("first", "second"), labels, _COLORS, (0.2, -0.2), strict=True
        ):
            known = [
                (h, r) for h, r in zip(heights, rows, strict=True) if r[f"rho_{side}"] is not None
            ]
            values = [row[f"rho_{side}"] for _, row in known]
            axes.barh([h + up for h, _ in known], values, 0.36, color=color, label=label)
            for chance in [row[f"chance_{side}"] for _, row in known[:1]]:
                for end in (-chance, chance):
                    axes.axvline(end, color=color, lw=1, ls=DASHES)
        axes.set_yticks(heights, [row["parameter"] for row in rows])
        axes.set_xlabel("Spearman's ρ with Ω")
        axes.grid(axis="y", visible=False)
        legend(axes, columns=2)

    return svg(draw, (SIZE[0], 1.2 + 0.34 * len(rows)))


def told(quantity: str, value: Any) -> str:
    """Return a fact as a person reads it."""
    if value is None:
        return "–"
    if quantity in _SHARES:
        return f"{100 * value:.1f}\u00a0%".replace("-", "−")
    if quantity.endswith(_SECONDS):
        return format_duration(value)
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def _fact(row: Row) -> tuple[str, str, str]:
    name = row["quantity"]
    return name.removesuffix(_SECONDS), told(name, row["first"]), told(name, row["second"])
