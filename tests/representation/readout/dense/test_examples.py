from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from representation.readout.dense import examples as ex
from representation.readout.dense.examples import Example
from selfflow.runs.errors import UserError


def made(count: int, part: str = "val") -> tuple[Example, ...]:
    names = [f"{part}/{number:04d}" for number in range(count)]
    return tuple(Example(name, Path(name + ".jpg"), Path(name + ".png")) for name in names)


PARTS = {"train": made(10, "train"), "val": made(7)}


def test_halves_of_a_part_are_its_first_and_last_images_and_together_all() -> None:
    first, second = (ex.select(PARTS, f"val:{half}%", "data") for half in ("0-50", "50-100"))
    assert first + second == list(PARTS["val"])
    assert len(first) == round(3.5)
    assert ex.select(PARTS, "train+val:0-50%", "data") == [*PARTS["train"], *first]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("test", "no part 'test'"),
        ("val:50-50%", "is empty"),
        ("val:50-120%", "is empty"),
        ("val:0-1%", "no image"),
        ("val:half", "looks like"),
    ],
)
def test_a_part_that_is_not_there_is_an_error(wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ex.select(PARTS, wanted, "data")


@settings(max_examples=20)
@given(st.integers(1, 120), st.integers(0, 3))
def test_label_shares_are_nested_and_of_their_size(count: int, seed: int) -> None:
    every = made(count)
    before: set[Example] = set()
    for percent in (1, 2, 5, 10, 20, 50, 100):
        share = ex.label_share(every, percent, seed)
        assert len(share) == max(1, -(-count * percent // 100))
        assert before <= set(share)
        assert share == sorted(share, key=lambda example: example.name)
        before = set(share)
    assert before == set(every)


def test_a_label_share_is_the_same_everywhere() -> None:
    # By name alone: not by where the data lies, nor by what the list's order was.
    share = [example.name for example in ex.label_share(made(200), 2)]
    assert share == ["val/0069", "val/0081", "val/0136", "val/0170"]
    other = ex.label_share(tuple(reversed(made(200))), 2)
    assert sorted(example.name for example in other) == share
    assert [example.name for example in ex.label_share(made(200), 2, seed=1)] != share


@given(st.integers(2, 50), st.floats(0.01, 0.99))
def test_what_is_held_out_is_not_trained_on(count: int, share: float) -> None:
    kept, judged = ex.held_out(made(count), share)
    assert kept
    assert judged
    assert sorted(kept + judged, key=lambda example: example.name) == list(made(count))


def test_neighbours_are_held_out_together() -> None:
    every = made(100)
    kept, judged = ex.held_out(every, 0.2)
    assert len(judged) == 20
    inside = [example in kept for example in every]
    assert sum(before != after for before, after in pairwise(inside)) == 7  # four stretches
    assert ex.held_out(tuple(reversed(every)), 0.2)[1] == judged[::-1]


def test_a_single_example_is_trained_and_judged_on() -> None:
    assert ex.held_out(made(1), 0.2) == ([made(1)[0]], [made(1)[0]])


def test_an_image_without_label_map_is_an_error() -> None:
    images = [Path("data/a.jpg"), Path("data/b.jpg")]
    with pytest.raises(UserError, match=r"1 of 2 images have no label map in labels, data/b\.jpg"):
        ex.matched(Path("data"), images, {"a": Path("labels/a.png")}, "labels")


def test_the_digest_depends_on_names_and_order_alone() -> None:
    assert ex.digest(made(3)) == ex.digest(made(3))
    assert ex.digest(made(3)) != ex.digest(made(4))
