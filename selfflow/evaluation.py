"""A model's errors on labelled pairs, as JSON and as a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.table import Table

from selfflow.comparison import Comparison, compare
from selfflow.labelled import LabelledPair
from selfflow.metrics import DEFINITIONS, GROUPS, Tally, occlusion_distance
from selfflow.models import FlowModel
from selfflow.objective import evaluating
from selfflow.runs.progress import track
from selfflow.runs.wording import counted
from selfflow.warm_start import FlowInTurn

_COLUMNS = ("EPE", "EPE img", "Fl", "Fl img", "< 1px", "< 3px", "< 5px", "angle", "WAUC", "share")
_CAPTION = (
    "EPE in px, angle in degrees, all else in per cent. Two averages: img is the mean over images "
    "of each image's mean; all other columns are pooled, the mean over all pixels."
)
_ROWS = {
    ("s0-10", "s10-40", "s40+"): "s: pixels by the length of their true motion, px",
    ("d0-10", "d10-60", "d60-140"): "d: visible pixels by distance from occluded ones, px, about "
    "Sintel's",
    ("visible", "not visible"): "visible: Sintel's matched, KITTI's noc",
    ("foreground", "background"): "foreground: what moves by itself, KITTI's fg",
}


@dataclass(frozen=True)
class Evaluation:
    """The errors of one model on one data set.

    Attributes:
        model: its name.
        data: the data set's name.
        iterations: of the network.
        tallies: errors by part of the data set (`sintel clean` and `sintel final`, say).
        names: of the pairs, by part, in order.
        comparisons: with published errors, by part, where there are any.
        warm_started: how many pairs began at the flow of the pair before; None without warm start.
    """

    model: str
    data: str
    iterations: int
    tallies: dict[str, Tally]
    names: dict[str, list[str]]
    comparisons: dict[str, Comparison]
    warm_started: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, with what the values and averages mean."""
        return {
            "model": self.model,
            "data": self.data,
            "iterations": self.iterations,
            "warm_started": self.warm_started,
            "results": {part: self._result(part) for part in self.tallies},
            "definitions": DEFINITIONS,
        }

    def tables(self) -> list[Table]:
        """Return a table for each part of the data set, and one beside it of published errors."""
        tables = []
        for part in self.tallies:
            tables.append(self._table(part))
            if part in self.comparisons:
                tables.append(self.comparisons[part].table())
        return tables

    def _result(self, part: str) -> dict[str, Any]:
        tally = self.tallies[part]
        result: dict[str, Any] = {
            "pairs": len(tally.totals),
            "pooled": tally.pooled(),
            "per_image": tally.per_image(),
            "each": dict(zip(self.names[part], tally.each(), strict=True)),
        }
        if part in self.comparisons:
            result["published"] = self.comparisons[part].as_dict()
        return result

    def _table(self, part: str) -> Table:
        tally = self.tallies[part]
        pooled, per_image = tally.pooled(), tally.per_image()
        count = len(tally.totals)
        table = Table(
            title=f"{self.model} on {part}: {counted(count, 'pair')}",
            caption=" ".join((_CAPTION, *_legend(pooled), *self._started())),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("pixels", no_wrap=True)
        for name in (*_COLUMNS, "pairs"):
            table.add_column(name, justify="right", no_wrap=True)
        for group in (group for group in GROUPS if group in pooled):
            own, img = pooled[group], per_image[group]
            errors = (own["epe"], img["epe"])
            others = (own[measure] for measure in ("1px", "3px", "5px", "angular", "wauc"))
            table.add_row(
                group,
                *(f"{error:.3f}" if error < 100 else f"{error:.1f}" for error in errors),
                *(f"{value:.2f}" for value in (own["fl_all"], img["fl_all"], *others)),
                f"{100 * own['pixels'] / pooled['all']['pixels']:.1f}",
                str(img["images"]),
            )
        return table

    def _started(self) -> list[str]:
        if self.warm_started is None:
            return []
        pairs = sum(map(len, self.names.values()))
        return [f"Warm start: {self.warm_started} of all {counted(pairs, 'pair')}."]


def _legend(groups: Iterable[str]) -> list[str]:
    """Return what the rows of a table mean."""
    explained = (text for names, text in _ROWS.items() if not set(names).isdisjoint(groups))
    return [f"{text}." for text in explained]


@torch.no_grad()
def evaluate(
    model: FlowModel,
    pairs: Sequence[LabelledPair],
    *,
    iterations: int = 12,
    warm_start: bool = False,
    device: torch.device | str = "cpu",
    name: str = "model",
    data: str = "data",
    dataset: str | None = None,
) -> Evaluation:
    """Return a model's errors on labelled pairs, read one at a time.

    Args:
        model: on `device`.
        pairs: see `selfflow.datasets.labelled_pairs`.
        iterations: of the network.
        warm_start: begin at the flow of the pair before, see `selfflow.warm_start`.
        device: where the model is.
        name: the model's, for the result.
        data: the data set's, for the result; it also stands for a part without a name.
        dataset: the known data set that it is, whose published figures belong beside the result; on
            Sintel errors are also told apart by their distance from occlusions.
    """
    tallies: dict[str, Tally] = {}
    names: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    flow_of = FlowInTurn(model, iterations, warm_start=warm_start, name=name)
    with evaluating(model):
        for pair in track(pairs, f"Evaluating {name}"):
            part = f"{data} {pair.part}".strip()
            batch = pair.load().to(device)
            if batch.flow is None:
                raise ValueError(f"{pair.name} has no label")
            flow = flow_of(batch.image1, batch.image2)
            distance = None
            if dataset == "sintel" and batch.visible is not None:
                distance = occlusion_distance(batch.flow, batch.visible)
            masks = (batch.valid, batch.visible, batch.foreground, distance)
            tallies.setdefault(part, Tally()).add(flow, batch.flow, *masks)
            names.setdefault(part, []).append(pair.name)
            parts[part] = pair.part
    found = {
        part: compare(
            (dataset or "", parts[part]), name, tally, iterations=iterations, warm_start=warm_start
        )
        for part, tally in tallies.items()
    }
    comparisons = {part: one for part, one in found.items() if one is not None}
    warm_started = flow_of.warm_started if warm_start else None
    return Evaluation(name, data, iterations, tallies, names, comparisons, warm_started)
