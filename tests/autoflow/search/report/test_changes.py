import math

import pytest
from studies import SPACE, made_up_study

from autoflow.search.report.changes import (
    changes,
    in_order,
    in_words,
    largest_of,
    ordered,
    percent,
    shown,
)
from autoflow.space import defaults

DEFAULT = defaults(SPACE)


def test_ends_of_a_pair_are_put_in_order_as_a_set_has_them() -> None:
    drawn = {"layers.count.low": 9, "layers.count.high": 3, "effects.fog": 0.5}
    assert in_order(drawn) == {
        "layers.count.low": 3, "layers.count.high": 9, "effects.fog": 0.5,
    }  # fmt: skip
    assert in_order({"layers.count.low": 9}) == {"layers.count.low": 9}
    for trial in ordered(made_up_study(30)):
        values = trial.parameters
        assert values["layers.count.low"] <= values["layers.count.high"]


def test_the_direction_in_which_all_sets_went_comes_first() -> None:
    together = {"effects.fog": 0.62}  # + 0.5
    first = DEFAULT | together | {"effects.shutter": 1.0}  # + 0.4
    second = DEFAULT | together | {"effects.shutter": 0.0}  # - 0.6
    found = changes([first, second], SPACE)
    assert found[0].parameter.name == "effects.fog"
    assert found[0].moves == pytest.approx((0.5, 0.5))
    assert found[1].parameter.name == "effects.shutter"
    assert found[1].moves == pytest.approx((0.4, -0.6))
    assert largest_of(1, found, 5) == [found[1], found[0]]
    assert changes([], SPACE) == []


def test_places_of_logarithmic_ranges_are_of_ratios() -> None:
    size = SPACE["layers.size"]
    middle = math.sqrt(size.low * size.high)
    found = next(
        c for c in changes([DEFAULT | {"layers.size": middle}], SPACE) if c.parameter is size
    )
    assert found.places == pytest.approx((0.5,))
    row = found.as_row()
    assert row["value_1"] == middle
    assert row["place_1"] == pytest.approx(0.5)
    assert row["unit"] == "frame sides"


def test_a_change_in_words_says_what_from_to_and_where() -> None:
    found = changes([DEFAULT | {"effects.fog": 0.62}], SPACE)[0]
    assert in_words(found, 0) == {
        "name": "effects.fog",
        "meaning": "a clip shows fog",
        "default": "0.12",
        "value": "0.62",
        "unit": "probability",
        "move": "+50\u00a0% of its range, now at 62\u00a0%",
    }
    ends = changes([DEFAULT | {"layers.count.high": 12}], SPACE)[0]
    assert ends.meaning == "number of foreground layers, largest"
    moved = changes([DEFAULT | {"background.scale": 0.4}], SPACE)[0]
    assert moved.meaning == "background: standard deviation of the logarithm of the scale"


def test_values_are_shown_as_short_as_they_can_be_told_apart() -> None:
    values = (True, 12, 0.123456, 180.0, -0.5)
    assert [shown(value) for value in values] == ["yes", "12", "0.123", "180", "−0.5"]
    assert [percent(v) for v in (0.1254, -0.03)] == ["+12.5\u00a0%", "−3.0\u00a0%"]
