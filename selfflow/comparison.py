"""Own errors beside those that others published, with what differs."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from selfflow.metrics import Tally
from selfflow.published import FIGURES, WHOLE, Part, Published, differences, published


@dataclass(frozen=True)
class Comparison:
    """One's own figures and published ones for a part of a data set.

    Attributes:
        part: the data set and its part.
        model: the own one's name.
        own: its figures, some of `selfflow.published.FIGURES`.
        pairs: how many the own figures are over.
        others: who published figures.
        differences: why these are not to be compared as they stand.
    """

    part: Part
    model: str
    own: dict[str, float]
    pairs: int
    others: list[Published]
    differences: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the published figures and what differs, for JSON."""
        rows = [
            {
                "model": one.model,
                "trained_on": one.trained_on,
                **one.figures[self.part],
                "source": one.source,
                "verified": one.verified,
            }
            for one in self.others
        ]
        return {"pairs": WHOLE[self.part], "figures": rows, "differences": self.differences}

    def table(self) -> Table:
        """Return one's own figures above the published ones."""
        table = Table(
            title=f"published, on {' '.join(self.part).strip()}: {WHOLE[self.part]} pairs; "
            f"yours: {self.pairs}",
            caption=self._caption(),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        used = [name for name in FIGURES if any(name in each for each in self._figures()[1:])]
        for name in ("model", "trained on"):
            table.add_column(name, no_wrap=True)
        for name in used:
            heading = name.replace("epe", "EPE").replace("fl", "Fl")
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("source", justify="right", no_wrap=True)
        sources = self._sources()
        rows = [
            (f"yours: {self.model}", "", ""),
            *(
                (one.model, one.trained_on, f"({sources.index(one.source) + 1})")
                for one in self.others
            ),
        ]
        for (model, trained_on, source), figures in zip(rows, self._figures(), strict=True):
            values = (f"{figures[name]:.2f}" if name in figures else "" for name in used)
            table.add_row(model, trained_on, *values, source)
        return table

    def _figures(self) -> list[dict[str, float]]:
        """Return all rows' figures, one's own first."""
        return [self.own, *(dict(one.figures[self.part]) for one in self.others)]

    def _sources(self) -> list[str]:
        return list(dict.fromkeys(one.source for one in self.others))

    def _caption(self) -> str:
        notes = "; ".join(f"({i}) {source}" for i, source in enumerate(self._sources(), 1))
        reasons = "; ".join(self.differences)
        return f"What differs: {reasons}.\n{notes}." if reasons else f"{notes}."


def compare(
    part: Part, model: str, tally: Tally, *, iterations: int, warm_start: bool
) -> Comparison | None:
    """Return a model's errors beside published ones, or None where there are none."""
    others = published(part)
    pooled, per_image = tally.pooled(), tally.per_image()
    if not others or "all" not in pooled:
        return None
    own = {
        "epe": pooled["all"]["epe"],
        "epe img": per_image["all"]["epe"],
        "fl": pooled["all"]["fl_all"],
        "fl img": per_image["all"]["fl_all"],
    }
    if "visible" in per_image:
        own["epe noc img"] = per_image["visible"]["epe"]
    pairs = len(tally.totals)
    reasons = differences(part, pairs, iterations, warm_start)
    return Comparison(part, model, own, pairs, others, reasons)
