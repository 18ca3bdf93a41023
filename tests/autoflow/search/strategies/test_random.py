from statistics import mean

import optuna
import torch
from synthetic import MIXED, add, inside, play, proposed, unit_space

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.strategies.random import RandomSearch, anywhere
from autoflow.space import defaults, place, searched
from selfflow.runs.config import replace_values


def test_points_are_spread_evenly_over_the_cube() -> None:
    space = unit_space(3)
    points = torch.tensor([list(anywhere(space, 0, n).values()) for n in range(800)])
    counts = torch.stack([torch.histc(column, 10, 0, 1) for column in points.T])
    assert counts.min() > 50
    assert counts.max() < 115
    assert torch.corrcoef(points.T).triu(1).abs().max() < 0.15


def test_points_differ_by_number_and_seed_and_lie_in_every_kind_of_range() -> None:
    points = [anywhere(MIXED, 0, number) for number in range(100)]
    assert all(inside(MIXED, point) for point in points)
    assert {point["whole"] for point in points} == {1, 2, 3, 4}
    assert {point["flag"] for point in points} == {False, True}
    assert 0.4 < mean(place(MIXED["ratio"], point["ratio"]) for point in points) < 0.6
    assert points[1] == anywhere(MIXED, 0, 1)
    assert points[1] != points[2]
    assert points[1] != anywhere(MIXED, 1, 1)


def test_a_point_is_a_valid_set_of_hyperparameters() -> None:
    start = Hyperparameters()
    for number in range(5):
        replace_values(start, anywhere(searched(start), 0, number))


def test_the_default_set_comes_first_and_nothing_depends_on_results() -> None:
    search = RandomSearch(MIXED, 0)
    study = play(search, MIXED, lambda p: float(p["even"]), 4)
    other = play(search, MIXED, lambda p: -float(p["even"]), 4)
    assert study.trials[0].params == defaults(MIXED)
    assert [t.user_attrs["key"] for t in study.trials] == ["start-0"] + [
        f"random-{number}" for number in (1, 2, 3)
    ]
    assert [t.params for t in study.trials] == [t.params for t in other.trials]


def test_two_proposals_without_a_result_between_differ() -> None:
    study = optuna.create_study()
    search = RandomSearch(MIXED, 0)
    jobs = []
    for _ in range(3):
        jobs.append(proposed(search, study))
        add(study, MIXED, jobs[-1], None, optuna.trial.TrialState.RUNNING)
    assert len({job.key for job in jobs}) == 3
    assert jobs[1].parameters != jobs[2].parameters
