import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoflow.hyperparameters import Hyperparameters
from autoflow.space import at, defaults, distributions, near, place, searched
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import parameters

START = Hyperparameters()
SPACE = searched(START)


def test_everything_is_searched_augmentation_included() -> None:
    assert set(SPACE) == set(parameters(START))
    assert "augmentation.geometry.rotation" in SPACE
    assert "layers.count.low" in SPACE


def test_a_search_may_be_narrowed_to_groups() -> None:
    names = set(searched(START, ["effects.fog", "foreground"]))
    assert "effects.fog" in names
    assert "effects.fog_density" not in names
    assert all(name == "effects.fog" or name.startswith("foreground.") for name in names)
    with pytest.raises(UserError, match="mist is no hyperparameter"):
        searched(START, ["mist"])


@pytest.mark.parametrize("name", SPACE)
def test_place_and_at_are_inverse(name: str) -> None:
    each = SPACE[name]
    for value in (each.low, each.default, each.high):
        assert at(each, place(each, value)) == pytest.approx(value)


@settings(max_examples=25)
@given(number=st.integers(0, 10_000), spread=st.floats(0.01, 1))
def test_points_around_the_start_are_valid_sets(number: int, spread: float) -> None:
    point = near(SPACE, spread, 3, number)
    for name, value in point.items():
        assert SPACE[name].low <= value <= SPACE[name].high
    replace_values(START, point)


def test_points_differ_by_number_and_seed_and_lie_near_the_start() -> None:
    assert near(SPACE, 0.1, 0, 1) == near(SPACE, 0.1, 0, 1)
    assert near(SPACE, 0.1, 0, 1) != near(SPACE, 0.1, 0, 2)
    assert near(SPACE, 0.1, 0, 1) != near(SPACE, 0.1, 1, 1)
    each, name = SPACE["foreground.rotation"], "foreground.rotation"
    moved = [
        abs(place(each, near(SPACE, 0.05, 0, n)[name]) - place(each, each.default))
        for n in range(50)
    ]
    assert max(moved) < 0.25


def test_optuna_keeps_a_point_as_it_is() -> None:
    point, forms = near(SPACE, 0.2, 0, 1), distributions(SPACE)
    assert set(forms) == set(point)
    trial = optuna.trial.create_trial(value=0.0, params=point, distributions=forms)
    study = optuna.create_study()
    study.add_trial(trial)
    assert study.trials[0].params == point
    assert all(type(value) is SPACE[name].kind for name, value in study.trials[0].params.items())


def test_the_start_is_a_point_of_the_space() -> None:
    assert replace_values(START, defaults(SPACE)) == START
