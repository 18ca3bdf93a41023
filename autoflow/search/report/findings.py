"""What there is to say of a search: computed once, shown as a page, as tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoflow.search.report.agreement import TOGETHER, agreement_points, agreements
from autoflow.search.report.changes import Change, changes, largest_of, ordered
from autoflow.search.report.importance import importances, slice_rows
from autoflow.search.report.lineage import lineage_rows, schedule_rows
from autoflow.search.report.rungs import prediction_points, predictions, telling_step
from autoflow.search.report.spending import (
    Part,
    course_rows,
    failure_rows,
    part_rows,
    saved_seconds,
    saved_share,
    spending_rows,
)
from autoflow.search.report.tables import Row, measurement_rows
from autoflow.search.results import TrialResult, ranked
from selfflow.objective import ObjectiveSettings
from selfflow.runs.parameter import Parameter

TOP = 3
SLICES = 6
CHANGES = 5  # of each best set that are put into words
STATES = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True)
class Search:
    """What a report is about.

    Attributes:
        name: of the search.
        target: whose frames it was made for.
        metric: what was minimised: "s-af", "aepe" or one term's name.
        strategy: what proposed the trials.
        trials: all that count, in order, the running ones included.
        wanted: trials in all.
        length: steps of a trial.
        weights: of the terms in Ω.
        space: what was searched; the defaults are the default set's values.
        parts: what the search did beside its trials; see `Part`.
        settings: further facts for the table at the end.
        outcome: of the network trained at the end, name to text; empty if there is none.
    """

    name: str
    target: str
    metric: str
    trials: Sequence[TrialResult]
    space: Mapping[str, Parameter]
    wanted: int
    length: int
    weights: ObjectiveSettings
    strategy: str = "tpe"
    parts: Sequence[Part] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    outcome: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """A search with all that follows from its trials.

    Attributes:
        search: what it is about.
        order: the complete trials that can be compared, the best first.
        default: the default set's trial among them, or None.
        sets: the best of them that are not the default set, at most three.
        changes: of these sets, the one in which they moved furthest first.
        step: after which the trials are best compared; None: nothing was measured.
        tables: rows by the table's name; empty ones where there is nothing to say.
    """

    search: Search
    order: Sequence[TrialResult]
    default: TrialResult | None
    sets: Sequence[TrialResult]
    changes: Sequence[Change]
    step: int | None
    tables: Mapping[str, list[Row]]

    @property
    def counted(self) -> dict[str, int]:
        """Trials by state."""
        return {state: sum(t.state == state for t in self.search.trials) for state in STATES}

    @property
    def ended(self) -> int:
        """Trials that came to an end."""
        return len(self.search.trials) - self.counted["running"]

    @property
    def seconds(self) -> float:
        """What the trials and the other parts took together."""
        parts = sum(part.seconds for part in self.search.parts)
        return sum(t.seconds for t in self.search.trials) + parts

    @property
    def trust(self) -> Row | None:
        """The rank correlation of Ω and the endpoint error after `step` steps, or None."""
        rows = self.tables["agreement"] if self.search.metric != "aepe" else []
        score = TOGETHER if self.search.metric == "s-af" else self.search.metric
        return next((r for r in rows if (r["step"], r["score"]) == (self.step, score)), None)

    @property
    def verdict(self) -> str | None:
        """Whether Ω orders the sets as their errors do: "yes", "inconclusive", "opposite".

        "inconclusive" where the interval of rho contains 0, None where no flow is known.
        """
        if self.trust is None:
            return None
        if self.trust["low"] > 0:
            return "yes"
        return "opposite" if self.trust["high"] < 0 else "inconclusive"

    def matters(self, name: str) -> bool:
        """Return whether Ω correlates with a hyperparameter more than chance would have it."""
        rows = self.tables["importance"]
        return any(r["parameter"] == name and abs(r["rho"]) > r["chance"] for r in rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON; the tables that have a row for each trial are files."""
        search, best = self.search, self.order[0] if self.order else None
        spent = self.tables["spending"]
        return {
            "search": search.name,
            "target": search.target,
            "metric": search.metric,
            "strategy": search.strategy,
            "trials": self.ended,
            "wanted": search.wanted,
            **self.counted,
            "best_trial": best.number if best else None,
            "best": best.last.as_dict() if best and best.last else None,
            "default": self.default.last.as_dict() if self.default and self.default.last else None,
            "best_sets": [self._set(number) for number in range(len(self.sets))],
            "compared_after_steps": self.step,
            "importance": self.tables["importance"],
            "agreement": self.tables["agreement"],
            "omega_tells_errors": self.verdict,
            "rungs": self.tables["rungs"],
            "spending": spent,
            "parts": self.tables["parts"],
            "saved_share": saved_share(spent),
            "saved_seconds": saved_seconds(spent),
            "failures": self.tables["failures"],
            "winner_line": [row for row in self.tables["lineage"] if row["winner"]],
            "seconds": self.seconds,
        }

    def _set(self, number: int) -> dict[str, Any]:
        trial = self.sets[number]
        return {
            "trial": trial.number,
            "omega": trial.omega,
            "aepe": trial.last.aepe if trial.last else None,
            "largest_changes": [
                {
                    "parameter": change.parameter.name,
                    "meaning": change.meaning,
                    "unit": change.parameter.unit,
                    "default": change.parameter.default,
                    "value": change.values[number],
                    "place": change.places[number],
                    "move": change.moves[number],
                }
                for change in largest_of(number, self.changes, CHANGES)
            ],
        }


def find(search: Search) -> Findings:
    """Return all that follows from the trials of a search, however few there are."""
    trials, length, space = ordered(search.trials), search.length, search.space
    order, step = ranked(trials), telling_step(trials)
    sets = [trial for trial in order if not trial.is_default][:TOP]
    moved = changes([trial.parameters for trial in sets], space)
    important = importances(trials, space, step) if step else []
    names = [row["parameter"] for row in important[:SLICES]]
    rung_points = prediction_points(trials)
    winner = order[0] if order else None
    tables = {
        "course": course_rows(trials, length),
        "measurements": measurement_rows(trials),
        "sets": [change.as_row() for change in moved],
        "importance": important,
        "slices": slice_rows(trials, names, step) if step else [],
        "rung_points": rung_points,
        "rungs": predictions(rung_points),
        "agreement_points": agreement_points(trials, step, search.weights) if step else [],
        "agreement": agreements(trials, search.weights),
        "lineage": lineage_rows(trials, winner),
        "schedule": schedule_rows(trials, winner, space, length),
        "spending": spending_rows(trials, length),
        "parts": part_rows(search.parts),
        "failures": failure_rows(trials, length),
    }
    return Findings(
        search=search,
        order=order,
        default=next((trial for trial in order if trial.is_default), None),
        sets=sets,
        changes=moved,
        step=step,
        tables=tables,
    )
