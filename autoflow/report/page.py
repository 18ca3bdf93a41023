"""`report.html`: what a search found, in one file that opens anywhere, also without a network."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from autoflow.report import charts
from autoflow.results import Agreement, TrialResult, agreement, measured_steps, ranked
from autoflow.sheet import Picture
from autoflow.space import place
from selfflow.runs.parameter import Parameter
from selfflow.runs.progress import format_duration

TOP = 3
_SHOWN_CHANGES = 14


@dataclass(frozen=True)
class Figure:
    """A picture with what is said about it."""

    title: str
    caption: str
    picture: Picture


@dataclass(frozen=True)
class Search:
    """What a report is about.

    Attributes:
        name: of the search.
        target: whose frames it was made for.
        metric: "s-af" or "aepe".
        trials: all of them, in order.
        space: what was searched; the defaults are the default set's values.
        base: Ω and its terms of the base network before any trial, or None.
        figures: samples of the target and of the sets.
        costs: what took how long, name to seconds.
        settings: further facts for the table at the end.
        outcome: of the network trained at the end, name to text; empty if there is none.
    """

    name: str
    target: str
    metric: str
    trials: Sequence[TrialResult]
    space: Mapping[str, Parameter]
    figures: Sequence[Figure] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    outcome: Mapping[str, str] = field(default_factory=dict)


def render_report(search: Search) -> str:
    """Return the report as HTML."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = format_duration
    template = environment.from_string(files("autoflow.report").joinpath("report.html").read_text())
    return template.render(**_content(search))


def _content(search: Search) -> dict[str, Any]:
    trials, order = search.trials, ranked(search.trials)
    steps = measured_steps(trials)
    agreements = [a for step in steps if (a := agreement(trials, step)) is not None]
    # The last steps say most about a set, unless only a few trials got that far.
    shown = max(agreements, key=lambda a: (a.trials >= 6, a.step)) if agreements else None
    best = [trial.number for trial in order[:TOP]]
    counted = {s: sum(t.state == s for t in trials) for s in ("complete", "pruned", "failed")}
    return {
        "search": search,
        "counted": counted,
        "labelled": any(t.last is not None and t.last.aepe is not None for t in trials),
        "seconds": sum(search.costs.values()),
        "order": order,
        "best": best,
        "default": next((t for t in order if t.number == 0), None),
        "agreements": agreements if search.metric == "s-af" else [],
        "shown": shown,
        "charts": _charts(search, steps, best, shown),
        "changes": _changes(order[:TOP], search.space),
        "figures": [(each, _png(each.picture)) for each in search.figures],
        "rows": sorted(trials, key=lambda t: (t.state != "complete", t.omega, t.number)),
    }


def _charts(
    search: Search, steps: Sequence[int], best: Sequence[int], shown: Agreement | None
) -> list[tuple[str, str, str]]:
    """Return (title, caption, source) of every chart that there are values for."""
    trials = search.trials
    found = [
        (
            "Course of the search",
            "Each mark is a trial's last Ω. Lower is better. Pruned trials stopped early.",
            charts.course(trials),
        ),
        (
            "Within the trials",
            "Ω after each share of a trial's training. All trials start from the same network.",
            charts.within(trials, best),
        ),
    ]
    if search.metric == "s-af" and any(t.last and t.last.aepe is not None for t in trials):
        step = shown.step if shown else steps[-1]
        caption = (
            f"After {step} steps. Ω was computed without labels; the endpoint error was measured "
            "beside it, to see whether the two order the sets alike. The search never saw it."
        )
        found.append(("Does Ω tell good sets?", caption, charts.scatter(trials, step, shown)))
    if any(t.last for t in trials):
        caption = (
            "Ω looks only at pixels that forward and backward flow agree on. A low Ω with a low "
            "share would be a network that hides its errors as occlusion."
        )
        found.append(("Covered share", caption, charts.covered(trials)))
    weights = importance(trials, search.space)
    if weights:
        caption = (
            "Rank correlation of each hyperparameter with the last Ω, the twelve strongest; "
            "with few trials most of it is chance."
        )
        found.append(("What mattered", caption, charts.bars(weights, "|ρ| with Ω")))
    return found


def importance(
    trials: Sequence[TrialResult], space: Mapping[str, Parameter], count: int = 12
) -> dict[str, float]:
    """Return |Spearman ρ| of parameters with Ω over complete trials, the `count` largest first.

    Simple and honest for few trials; model-based importances need many times more of them than
    there are parameters. Empty with fewer than six complete trials.
    """
    order = ranked(trials)
    if len(order) < 6:
        return {}
    omegas = [trial.omega for trial in order]
    weights = {}
    for name in space:
        values = [float(trial.parameters.get(name, np.nan)) for trial in order]
        if np.isfinite(values).all() and len(set(values)) > 1 and len(set(omegas)) > 1:
            weights[name] = abs(float(spearmanr(values, omegas).statistic))
    largest = sorted(weights, key=lambda name: -weights[name])[:count]
    return {name: weights[name] for name in largest}


@dataclass(frozen=True)
class Change:
    """A parameter in which the best sets differ from the default; places are percent of a range."""

    parameter: Parameter
    default: str
    default_place: float
    values: tuple[str, ...]
    places: tuple[float, ...]


def _changes(best: Sequence[TrialResult], space: Mapping[str, Parameter]) -> list[Change]:
    """Return where the best sets went, those in which the first moved furthest on top."""
    sets = [trial for trial in best if trial.number != 0] or list(best)
    changes = []
    for name, each in space.items():
        if all(name in trial.parameters for trial in sets) and sets:
            values = [trial.parameters[name] for trial in sets]
            places = tuple(100 * place(each, value) for value in values)
            changes.append(
                Change(
                    each,
                    _number(each.default),
                    100 * place(each, each.default),
                    tuple(_number(value) for value in values),
                    places,
                )
            )
    # A direction in which all the best sets went says more than one that a single set took.
    changes.sort(key=lambda c: -abs(sum(p - c.default_place for p in c.places)))
    return changes[:_SHOWN_CHANGES]


def _number(value: float | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _png(image: Picture) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
