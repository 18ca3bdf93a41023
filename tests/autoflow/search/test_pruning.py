"""Decisions of the pruners: by hand, and against Optuna's own where nobody dies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from books import Counting, measured
from known import small_settings
from optuna.trial import TrialState
from synthetic import unit_space

from autoflow.search.entry import Entry, Outcome
from autoflow.search.ledger import Ledger
from autoflow.search.pruning import Pruning
from autoflow.search.settings import SearchSettings
from autoflow.space import distributions
from selfflow.runs.config import replace_values

STEPS = (9, 27, 81)  # what becomes 1, 3 and 9 to a pruner
KINDS = ("hyperband", "halving", "median")


def settings_for(pruner: str, strategy: str = "tpe") -> SearchSettings:
    values = {
        "trial.steps": STEPS[-1],
        "trial.rungs": tuple(step / STEPS[-1] for step in STEPS),
        "trial.pruner": pruner,
        "strategy": strategy,
    }
    return replace_values(small_settings("sample"), values)


class Play:
    """Trials of made-up Ω in a study in memory, pruned as a worker would."""

    def __init__(self, path: Path, pruner: str) -> None:
        self.study = optuna.create_study(study_name="s-af")
        self.pruning = Pruning(settings_for(pruner))
        self.ledger = Ledger(self.study, path, "me", distributions(unit_space(3)), 1000)

    def begin(self) -> Entry:
        entry = self.ledger.take(Counting())
        assert entry is not None
        return entry

    def climb(self, entry: Entry, omega: float) -> bool:
        """Measure at the next rung; return whether the trial is hopeless."""
        course = [*entry.trial.course, measured(STEPS[len(entry.trial.course)], omega)]
        entry.record(course)
        entry.trial = Entry(self.study, entry.trial_id).trial
        if len(course) == len(STEPS):
            return False
        return self.pruning.is_hopeless(self.study, entry.trial_id)

    def run(self, omegas: Sequence[float]) -> int:
        """Run a trial; return how many rungs it reached."""
        entry = self.begin()
        for reached, omega in enumerate(omegas, 1):
            if self.climb(entry, omega):
                entry.end(Outcome(TrialState.PRUNED), 0.0)
                return reached
        entry.end(Outcome(TrialState.COMPLETE, omegas[-1]), 0.0)
        return len(omegas)


def by_optuna(pruner: optuna.pruners.BasePruner, courses: Sequence[Sequence[float]]) -> list[int]:
    study = optuna.create_study(study_name="s-af", pruner=pruner)
    reached = []
    for omegas in courses:
        trial = study.ask()
        for rung, omega in enumerate(omegas):
            trial.report(omega, 3**rung)
            if rung < 2 and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, omegas[-1])
        reached.append(rung + 1)
    return reached


# Ω falls from rung to rung, so that the best of a course is its last one for Optuna, too.
COURSES = np.random.default_rng(0).uniform(size=(25, 3)) + np.array([2, 1, 0])


@pytest.mark.parametrize("name", KINDS)
def test_as_optuna_prunes_where_steps_are_powers_and_nobody_dies(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Brackets are drawn from numbers, which are not the same.
    monkeypatch.setattr(optuna.pruners.HyperbandPruner, "_get_bracket_id", lambda *_: 0)
    theirs = {
        "hyperband": optuna.pruners.HyperbandPruner(1, 9, 3),
        "halving": optuna.pruners.SuccessiveHalvingPruner(1, 3),
        "median": optuna.pruners.MedianPruner(n_startup_trials=4, n_min_trials=3),
    }
    play = Play(tmp_path, name)
    reached = [play.run(omegas) for omegas in COURSES]
    assert reached == by_optuna(theirs[name], COURSES)
    assert {1, 3} <= set(reached)


def test_one_of_three_goes_on(tmp_path: Path) -> None:
    """By hand: successive halving keeps who is among the best third of those that got there."""
    play = Play(tmp_path, "halving")
    expected = [(5.0, 3), (4.0, 3), (6.0, 1), (4.5, 1), (3.0, 3), (3.5, 2), (3.6, 1)]
    assert [play.run((omega,) * 3) for omega, _ in expected] == [rungs for _, rungs in expected]


@pytest.mark.parametrize("name", KINDS)
def test_omega_of_other_rungs_does_not_matter(tmp_path: Path, name: str) -> None:
    """Higher rungs measure more pairs; what is a good Ω there may be a bad one below."""
    plays = [Play(tmp_path / folder, name) for folder in ("as they are", "shifted")]
    for omegas in COURSES:
        assert plays[0].run(omegas) == plays[1].run(omegas + np.array([0, 100, 300]))


def test_a_trial_that_is_tried_again_is_judged_as_if_it_had_not_died(tmp_path: Path) -> None:
    whole, broken = Play(tmp_path / "a", "hyperband"), Play(tmp_path / "b", "hyperband")
    for omegas in COURSES[:12]:
        reached = whole.run(omegas)
        entry = broken.begin()
        for omega in omegas[: reached - 1]:
            assert not broken.climb(entry, omega)
            entry.stop()  # and somebody goes on with it, under another number
            entry = broken.begin()
        hopeless = broken.climb(entry, omegas[reached - 1])
        assert hopeless == (reached < 3)
        entry.end(Outcome(TrialState.PRUNED if hopeless else TrialState.COMPLETE, 0.0), 0.0)
    assert len(broken.study.get_trials()) > len(whole.study.get_trials())


def test_hyperband_gives_up_most_trials_early_and_lets_some_be(tmp_path: Path) -> None:
    play = Play(tmp_path, "hyperband")
    # The later the worse: who is not in the bracket that asks nothing has no chance.
    reached = [play.run((1.0 + number,) * 3) for number in range(40)]
    assert min(reached.count(rungs) for rungs in (1, 2, 3)) >= 5
    assert reached.count(3) <= 12


@pytest.mark.parametrize("settings", [settings_for("none"), settings_for("hyperband", "pbt")])
def test_nothing_is_pruned_without_a_pruner_nor_in_a_population(
    tmp_path: Path, settings: SearchSettings
) -> None:
    play = Play(tmp_path, "halving")
    play.pruning = Pruning(settings)
    assert [play.run((float(number),) * 3) for number in range(6)] == [3] * 6


@pytest.mark.parametrize(("rungs", "factor"), [(2, 2), (2, 3), (3, 2), (3, 3), (6, 2), (6, 3)])
def test_hyperband_has_a_bracket_for_each_rung(rungs: int, factor: int) -> None:
    shares = tuple(factor ** (rung - rungs + 1) for rung in range(rungs))
    values = {"trial.steps": 1000, "trial.rungs": shares, "trial.pruner": "hyperband"}
    pruner = Pruning(replace_values(small_settings("sample"), values))._pruner
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    pruner._try_initialization(optuna.create_study())
    assert pruner._n_brackets == rungs
