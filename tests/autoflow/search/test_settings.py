import pytest

from autoflow.search.settings import DEVICE_DEFAULTS, Rung, SearchSettings
from selfflow.runs.config import load
from selfflow.runs.errors import UserError


def settings(**values: object) -> SearchSettings:
    return load(SearchSettings, values=values)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", [Rung(50, 0.5, 1.0), Rung(100, 0.5, 1.0), Rung(150, 1.0, 1.0)]),
        ("cuda", [Rung(556, 0.25, 1.0), Rung(1667, 0.5, 1.0), Rung(5000, 1.0, 1.0)]),
    ],
)
def test_rungs_by_default(device: str, expected: list[Rung]) -> None:
    chosen = load(SearchSettings, defaults=DEVICE_DEFAULTS[device])
    assert list(chosen.ladder()) == expected


def test_rungs_that_fall_on_one_step_are_one() -> None:
    chosen = settings(**{"trial.steps": 2, "trial.rung_sides": (0.25, 0.5, 1.0)})
    assert chosen.ladder() == (Rung(1, 0.5, 0.5), Rung(2, 1.0, 1.0))


def test_a_turn_of_a_population_has_one_rung() -> None:
    assert settings(strategy="pbt").ladder() == (Rung(5000, 1.0, 1.0),)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trial.rungs": (0.5, 0.2, 1.0)}, "do not rise"),
        ({"trial.rungs": (0.1, 0.2, 0.3)}, "trial.rungs ends in 0.3, not in 1"),
        ({"trial.rungs": (0.0, 0.5, 1.0)}, "greater than 0"),
        ({"trial.rungs": ()}, "at least 1"),
        ({"trial.rung_pairs": (0.5, 1.0)}, "2 shares for 3 rungs"),
        ({"trial.rung_sides": (1.0, 1.0, 0.5)}, "trial.rung_sides ends in 0.5, not in 1"),
        ({"trial.pruner": "luck"}, "hyperband"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings(**values)


def test_what_a_study_is_made_for_leaves_out_what_does_not_matter() -> None:
    one = settings(**{"trial.keep": "all", "trial.pictures": 0, "trials": 7, "workers": 3})
    assert one.made_for() == settings().made_for()
    for changed in ({"seed": 1}, {"strategy": "random"}, {"trial.steps": 6}, {"startup": 3}):
        assert settings(**changed).made_for() != one.made_for()
