"""Pages that open anywhere, also without a network: everything is in the one file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from PIL import Image

from autoflow.search.report import charts
from autoflow.search.report.agreement import SCORES, TOGETHER
from autoflow.search.report.changes import Change, in_words, largest_of, percent
from autoflow.search.report.findings import CHANGES, Findings
from autoflow.search.report.reweighting import Shift
from autoflow.search.report.spending import saved_seconds, saved_share
from autoflow.search.report.tables import FOLDER
from autoflow.sheet import Picture
from selfflow.runs.progress import format_duration

_SHOWN_CHANGES, _SHOWN_IMPORTANCES = 14, 15
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class Figure:
    """A picture with what is said about it.

    Attributes:
        folded: whether it is shown only when asked for.
    """

    title: str
    caption: str
    picture: Picture
    folded: bool = False


def render_report(
    found: Findings, figures: Sequence[Figure] = (), shift: Shift | None = None
) -> str:
    """Return the report as HTML.

    Args:
        found: what there is to say.
        figures: samples of the target and of the sets.
        shift: what changed, where the trials are ranked again with other weights.
    """
    search, order = found.search, found.order
    return render_page(
        "report.html",
        search=search,
        found=found,
        shift=shift,
        order=order,
        best=[trial.number for trial in order[:3]],
        labelled=any(row["aepe"] is not None for row in found.tables["measurements"]),
        ended=found.ended,
        charts=report_charts(found),
        cards=[
            (trial, [_told(found, n, each) for each in largest_of(n, found.changes, CHANGES)])
            for n, trial in enumerate(found.sets)
        ],
        changes=[each.as_shown() for each in found.changes[:_SHOWN_CHANGES]],
        figures=[(figure, jpeg(figure.picture)) for figure in figures],
        top_rungs=found.tables["rungs"],
        slices=_slices(found),
        saved_share=saved_share(found.tables["spending"]),
        saved_seconds=saved_seconds(found.tables["spending"]),
        rows=sorted(search.trials, key=lambda t: (t.state != "complete", t.omega, t.number)),
        together=TOGETHER,
        scores=SCORES,
    )


def render_page(template: str, **content: Any) -> str:
    """Return one of the package's templates, filled; what is said in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _text(name)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = format_duration
    environment.filters["percent"] = percent
    environment.filters["signed"] = lambda value: f"{value:.2f}".replace("-", "−")
    environment.globals["tables"] = FOLDER
    return environment.get_template(template).render(**content)


def report_charts(found: Findings) -> dict[str, str]:
    """Return the source of every chart that there are values for, by name."""
    tables, best = found.tables, [trial.number for trial in found.order[:3]]
    default = next((t.number for t in found.search.trials if t.is_default), None)
    drawn: dict[str, str] = {}
    if tables["measurements"]:
        drawn["course"] = charts.course(tables["course"])
        drawn["cost"] = charts.course(tables["course"], "steps")
        drawn["within"] = charts.within(tables["measurements"], best, default)
        at_step = [row for row in tables["measurements"] if row["step"] == found.step]
        drawn["covered"] = charts.covered(at_step)
    if tables["importance"]:
        strongest = tables["importance"][:_SHOWN_IMPORTANCES]
        drawn["importance"] = charts.importance(strongest)
        if "ped_anova" in strongest[0]:
            by_share = sorted(tables["importance"], key=lambda row: -row["ped_anova"])
            drawn["ped_anova"] = charts.importance(by_share[:_SHOWN_IMPORTANCES], "ped_anova")
    for row in tables["agreement"]:
        if row["step"] == found.step and _is_told(found, row["score"]):
            drawn[f"score {row['score']}"] = charts.score_against_error(
                tables["agreement_points"], row["score"], default
            )
    for row in tables["rungs"]:
        drawn[f"rung {row['step']}"] = charts.prediction(tables["rung_points"], row["step"])
    if tables["lineage"]:
        drawn["lineage"] = charts.lineage(tables["lineage"])
    if tables["schedule"]:
        drawn["schedule"] = charts.schedule(tables["schedule"])
    return drawn


def jpeg(image: Picture) -> str:
    """Return a picture as the source of an image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _text(name: str) -> str:
    return files("autoflow.search.report").joinpath(name).read_text(encoding="utf-8")


def _is_told(found: Findings, score: str) -> bool:
    """Return whether a score is worth a chart: one that was minimised alone is all there is."""
    return found.search.metric in ("s-af", "aepe") or score != TOGETHER


def _slices(found: Findings) -> list[tuple[str, str, str]]:
    """Return (name, what it does, chart) of the most important hyperparameters."""
    rows = found.tables["slices"]
    names = dict.fromkeys(row["parameter"] for row in rows)
    known = {name: Change(found.search.space[name], ()) for name in names}
    return [
        (
            name,
            change.meaning,
            charts.slice_of(rows, name, change.parameter.unit, log=change.parameter.log),
        )
        for name, change in known.items()
    ]


def _told(found: Findings, number: int, change: Change) -> dict[str, Any]:
    """Return a change of set `number` in words, and whether it is one that matters."""
    matters = found.matters(change.parameter.name)
    return {**in_words(change, number), "matters": matters}
