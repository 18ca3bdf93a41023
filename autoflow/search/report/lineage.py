"""A population's lineage: whose network each member went on with, and the winner's schedule."""

from collections.abc import Mapping, Sequence

from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult
from autoflow.search.strategies.pbt import member_of
from autoflow.space import place
from selfflow.runs.parameter import Parameter


def ancestors(trial: TrialResult, trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials whose network a trial went on with, the first one first, itself last."""
    known = {each.number: each for each in trials}
    chain = [trial]
    while chain[0].parent is not None and chain[0].parent in known:
        chain.insert(0, known[chain[0].parent])
    return chain


def lineage_rows(trials: Sequence[TrialResult], winner: TrialResult | None) -> list[Row]:
    """Return a row for each trial of a population: whom it copied, Ω, whether the winner stems.

    Empty where no trial goes on with another's network.
    """
    if not any(trial.parent is not None for trial in trials):
        return []
    known = {trial.number: trial for trial in trials}
    line = {each.number for each in ancestors(winner, trials)} if winner else set()
    rows = []
    for trial in trials:
        parent = known.get(trial.parent) if trial.parent is not None else None
        member = member_of(trial.key)
        source = member_of(parent.key) if parent else None
        rows.append(
            {
                "trial": trial.number,
                "member": member,
                "generation": trial.generation,
                "parent": trial.parent,
                "copied_member": source if source != member else None,
                "state": trial.state,
                "omega": trial.omega if trial.last else None,
                "winner": trial.number in line,
            }
        )
    return rows


def schedule_rows(
    trials: Sequence[TrialResult],
    winner: TrialResult | None,
    space: Mapping[str, Parameter],
    length: int,
) -> list[Row]:
    """Return the winner's hyperparameters by generation, those that varied most first.

    Each row is one hyperparameter in one generation: its value, its place in the range from 0 to 1,
    and the steps of training that it was in force for.
    """
    chain = ancestors(winner, trials) if winner else []
    if len(chain) < 2:
        return []
    rows = []
    for name, each in space.items():
        values = [trial.parameters[name] for trial in chain if name in trial.parameters]
        if len(values) < len(chain):
            continue
        places = [place(each, value) for value in values]
        for trial, value, where in zip(chain, values, places, strict=True):
            rows.append(
                {
                    "parameter": name,
                    "generation": trial.generation,
                    "trial": trial.number,
                    "from_step": trial.generation * length,
                    "to_step": (trial.generation + 1) * length,
                    "value": value,
                    "place": where,
                    "varied": max(places) - min(places),
                }
            )
    return sorted(rows, key=lambda row: (-row["varied"], row["parameter"], row["generation"]))
