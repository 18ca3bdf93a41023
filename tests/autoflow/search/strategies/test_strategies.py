from dataclasses import replace

import optuna
import pytest
from known import made_up_trials
from synthetic import MIXED, play, proposed

from autoflow.search.objective import Measurement
from autoflow.search.results import TrialResult
from autoflow.search.settings import SearchSettings
from autoflow.search.strategies import Job, PbtSettings, strategy_of
from autoflow.search.strategies.cma_es import CmaEs
from autoflow.search.strategies.pbt import Pbt
from autoflow.search.strategies.random import RandomSearch
from autoflow.search.strategies.start import start_job
from autoflow.search.strategies.tpe import Tpe
from autoflow.search.strategies.trials import by_key, next_number, outcome
from autoflow.space import defaults, near, reflect
from selfflow.runs.errors import UserError

TRIAL = made_up_trials(1)[0]


def ended(state: str, step: int = 0, omega: float = 0.0, number: int = 0) -> TrialResult:
    course: tuple[Measurement, ...] = ()
    if step:
        course = (replace(TRIAL.course[-1], step=step, omega=omega),)
    return replace(TRIAL, state=state, course=course, number=number)


def test_a_strategy_is_made_from_the_settings_by_its_name() -> None:
    population = PbtSettings(members=4)
    settings = SearchSettings(trials=8, startup=3, spread=0.1, seed=7, pbt=population)
    made = {
        name: strategy_of(settings.model_copy(update={"strategy": name}), MIXED)
        for name in ("tpe", "random", "cma-es", "pbt")
    }
    assert made == {
        "tpe": Tpe(MIXED, 3, 0.1, 7),
        "random": RandomSearch(MIXED, 7),
        "cma-es": CmaEs(MIXED, 0.1, 7),
        "pbt": Pbt(MIXED, population, 0.1, 7),
    }
    assert SearchSettings().strategy == "tpe"


def test_a_population_that_never_copies_is_refused() -> None:
    population = PbtSettings(members=4)
    strategy_of(SearchSettings(strategy="pbt", trials=8, pbt=population), MIXED)
    with pytest.raises(UserError, match="7 trials are less than two generations of 4 members"):
        strategy_of(SearchSettings(strategy="pbt", trials=7, pbt=population), MIXED)


def test_a_study_read_from_its_storage_gives_the_job_that_it_gave_before() -> None:
    storage = optuna.storages.RDBStorage("sqlite://")
    for name in ("tpe", "random", "cma-es", "pbt"):
        settings = SearchSettings(strategy=name, trials=20, startup=3, pbt=PbtSettings(members=4))
        strategy = strategy_of(settings, MIXED)
        study = play(strategy, MIXED, lambda p: float(p["even"]) / 3 + p["ratio"], 9)
        optuna.create_study(storage=storage, study_name=name).add_trials(study.trials)
        job = proposed(strategy, optuna.load_study(storage=storage, study_name=name))
        assert job
        assert job == proposed(strategy, study)


def test_the_first_job_is_the_default_set_and_the_others_lie_near_it() -> None:
    assert start_job(MIXED, 0.2, 5, 0) == Job("start-0", defaults(MIXED))
    assert start_job(MIXED, 0.2, 5, 3) == Job("start-3", near(MIXED, 0.2, 5, 3))


def test_numbers_of_jobs_go_on_after_the_highest() -> None:
    assert next_number([]) == 0
    keys = ["start-0", "start-1", "tpe-17", "tpe-2"]
    assert next_number([replace(TRIAL, key=key) for key in keys]) == 18


def test_of_two_trials_of_one_job_the_first_counts() -> None:
    first, second = (replace(TRIAL, key="tpe-3", number=number) for number in (4, 5))
    assert by_key([first, second]) == {"tpe-3": first}


def test_outcomes_are_compared_at_equal_fidelity_only() -> None:
    order = [
        ended("complete", 20, 1.0),
        ended("complete", 20, 2.0),
        ended("pruned", 10, 0.5),
        ended("pruned", 10, 0.6),
        ended("pruned", 5, 0.1),
        ended("failed"),
    ]
    assert sorted([order[i] for i in (3, 5, 0, 4, 1, 2)], key=outcome) == order


@pytest.mark.parametrize(
    ("outside", "inside"),
    [(0.3, 0.3), (-0.3, 0.3), (1.2, 0.8), (2.2, 0.2), (-1.4, 0.6)],
)
def test_places_are_mirrored_at_the_ends_of_a_range(outside: float, inside: float) -> None:
    assert reflect(outside) == pytest.approx(inside)
