"""A model's errors on labelled pairs, as JSON and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.table import Table

from selfflow.labelled import LabelledPair
from selfflow.metrics import DEFINITIONS, GROUPS, Tally
from selfflow.models import FlowModel
from selfflow.objective import evaluating
from selfflow.runs.progress import track

_ROWS = {"s0-10": "< 10 px", "s10-40": "10 to 40 px", "s40+": ">= 40 px"}
_CAPTION = (
    "EPE in px, all else in per cent of pixels. EPE, Fl, < 1, 3, 5 px: pooled, the mean over all "
    "pixels; img: the mean over images of each image's mean."
)


@dataclass(frozen=True)
class Evaluation:
    """The errors of one model on one data set.

    Attributes:
        model: its name.
        data: the data set's name.
        iterations: of the network.
        tallies: errors by part of the data set (Sintel's `clean` and `final`, say).
        names: of the pairs, by part, in order.
    """

    model: str
    data: str
    iterations: int
    tallies: dict[str, Tally]
    names: dict[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, with what the values and averages mean."""
        results = {
            part: {
                "pairs": len(tally.totals),
                "pooled": tally.pooled(),
                "per_image": tally.per_image(),
                "each": dict(zip(self.names[part], tally.each(), strict=True)),
            }
            for part, tally in self.tallies.items()
        }
        return {
            "model": self.model,
            "data": self.data,
            "iterations": self.iterations,
            "results": results,
            "definitions": DEFINITIONS,
        }

    def tables(self) -> list[Table]:
        """Return a table for each part of the data set."""
        return [self._table(part) for part in self.tallies]

    def _table(self, part: str) -> Table:
        tally = self.tallies[part]
        pooled, per_image = tally.pooled(), tally.per_image()
        count = len(tally.totals)
        table = Table(
            title=f"{self.model} on {part}: {count} pair{'s' if count > 1 else ''}",
            caption=_CAPTION,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("pixels", no_wrap=True)
        for name in ("EPE", "EPE img", "Fl", "Fl img", "< 1px", "< 3px", "< 5px", "share"):
            table.add_column(name, justify="right", no_wrap=True)
        for group in (group for group in GROUPS if group in pooled):
            ours, theirs = pooled[group], per_image[group]
            shares = (ours["fl_all"], theirs["fl_all"], ours["1px"], ours["3px"], ours["5px"])
            table.add_row(
                _ROWS.get(group, group),
                f"{ours['epe']:.3f}",
                f"{theirs['epe']:.3f}",
                *(f"{share:.2f}" for share in shares),
                f"{100 * ours['pixels'] / pooled['all']['pixels']:.1f}",
            )
        return table


@torch.no_grad()
def evaluate(
    model: FlowModel,
    pairs: Sequence[LabelledPair],
    *,
    iterations: int = 24,
    device: torch.device | str = "cpu",
    name: str = "model",
    data: str = "data",
) -> Evaluation:
    """Return a model's errors on labelled pairs, read one at a time.

    Args:
        model: on `device`.
        pairs: see `selfflow.datasets.labelled_pairs`.
        iterations: of the network.
        device: where the model is.
        name: the model's, for the result.
        data: the data set's, for the result; it also stands for a part without a name.
    """
    tallies: dict[str, Tally] = {}
    names: dict[str, list[str]] = {}
    with evaluating(model):
        for pair in track(pairs, f"Evaluating {name}"):
            part = f"{data} {pair.part}".strip()
            batch = pair.load().to(device)
            if batch.flow is None:
                raise ValueError(f"{pair.name} has no label")
            flow = model(batch.image1, batch.image2, iterations)
            tallies.setdefault(part, Tally()).add(flow, batch.flow, batch.valid, batch.visible)
            names.setdefault(part, []).append(pair.name)
    return Evaluation(name, data, iterations, tallies, names)
