from pathlib import Path

import numpy as np
import pytest

from representation.readout.dense import checks
from representation.readout.dense.classes import Classes
from representation.readout.dense.examples import Example
from representation.readout.dense.layouts import Segmented
from selfflow.runs.errors import UserError


def made(count: int, part: str = "val") -> tuple[Example, ...]:
    names = [f"{part}/{number:04d}" for number in range(count)]
    return tuple(Example(name, Path(name + ".jpg"), Path(name + ".png")) for name in names)


def test_images_that_are_trained_and_tested_on_are_an_error() -> None:
    checks.check_apart(made(3), made(3, "train"))
    with pytest.raises(UserError, match="2 of the test images are trained on"):
        checks.check_apart(made(3), made(2))


def test_a_label_map_of_another_size_is_an_error(tmp_path: Path, write_image) -> None:
    image = write_image(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    label = write_image(tmp_path / "b.png", np.zeros((4, 5), np.uint8))
    checks.check_sizes([Example("a", image, image)])
    with pytest.raises(UserError, match=r"b\.png is 5x4, but its image a\.png is 6x4"):
        checks.check_sizes([Example("a", image, label)])


def test_label_maps_are_read_before_any_work(tmp_path: Path, write_image) -> None:
    target = Classes(Segmented(("sky", "road"), {}))
    nothing = write_image(tmp_path / "nothing.png", np.full((4, 6), 255, np.uint8))
    some = write_image(tmp_path / "some.png", np.ones((4, 6), np.uint8))
    bad = write_image(tmp_path / "bad.png", np.full((4, 6), 2, np.uint8))
    examples = {path: Example(path.name, path, path) for path in (nothing, some, bad)}
    checks.check_labels([examples[nothing], examples[some]], target, "test on")
    with pytest.raises(UserError, match="no pixel of the images to test on has a label"):
        checks.check_labels([examples[nothing]], target, "test on")
    with pytest.raises(UserError, match=r"bad\.png holds 2"):
        checks.check_labels([examples[some], examples[bad]], target, "test on")
