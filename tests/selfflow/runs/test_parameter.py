import pytest

from selfflow.runs.config import Config
from selfflow.runs.parameter import Parameter, parameter, parameter_range, parameters


class Motion(Config):
    zoom: float = parameter(1.0, 0.5, 2.0, unit="", meaning="zoom", log=True)
    shift: tuple[float, float] = parameter_range((1, 2), 0, 10, unit="px", meaning="shift")


class Scene(Config):
    layers: int = parameter(3, 1, 9, unit="", meaning="layers")
    fog: bool = parameter(False, False, True, unit="", meaning="whether there is fog")
    name: str = "scene"
    motion: Motion = Motion()


def test_parameters_are_found_in_order_with_all_that_was_declared() -> None:
    found = parameters(Scene)
    assert list(found) == ["layers", "fog", "motion.zoom", "motion.shift.low", "motion.shift.high"]
    assert found["motion.zoom"] == Parameter(
        "motion.zoom", 1.0, 0.5, 2.0, unit="", meaning="zoom", log=True, kind=float
    )
    assert found["motion.shift.high"] == Parameter(
        "motion.shift.high", 2.0, 0, 10, unit="px", meaning="shift", log=False, kind=float
    )
    assert [found[name].kind for name in ("layers", "fog")] == [int, bool]


def test_an_instance_gives_its_own_values() -> None:
    scene = Scene(layers=5, motion=Motion(shift=(0.5, 4)))
    values = {name: each.default for name, each in parameters(scene).items()}
    assert values["layers"] == 5
    assert values["motion.shift.low"] == 0.5
    assert values["motion.shift.high"] == 4


@pytest.mark.parametrize(
    ("default", "low", "high", "log"), [(3, 0, 2, False), (-1, 0, 2, False), (1, 0, 2, True)]
)
def test_an_impossible_declaration_is_a_programming_error(
    default: float, low: float, high: float, log: bool
) -> None:
    with pytest.raises(ValueError, match=r"range|default"):
        parameter(default, low, high, unit="", meaning="", log=log)


def test_a_pair_turned_round_is_a_programming_error_in_a_declaration() -> None:
    with pytest.raises(ValueError, match="default"):
        parameter_range((2, 1), 0, 3, unit="", meaning="")
