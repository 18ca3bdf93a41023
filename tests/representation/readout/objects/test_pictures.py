from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from representation.readout.objects.example import Example, Thing
from representation.readout.objects.finding import Found
from representation.readout.objects.pictures import (
    GAP,
    HEIGHT,
    beside,
    class_color,
    drawn,
    write_pictures,
)
from selfflow.io import read_image, write_image


def test_a_box_a_mask_and_points_are_drawn_where_they_are_in_the_classs_colour() -> None:
    image = np.zeros((HEIGHT, 400, 3), np.uint8)
    box = np.array([[100.0, 150, 200, 250]])
    mask = np.zeros((HEIGHT, 400), np.uint8)
    mask[180:240, 120:180] = 1
    packed = dict(rle.encode(np.asfortranarray(mask)))
    points = np.array([[300.0, 50, 1], [350, 50, 0]])
    picture = drawn(image, box, [1], [""], [packed], [points])
    color = np.array(class_color(1))
    assert (picture[200, 100] == color).all()
    assert (picture[250, 150] == color).all()
    assert (picture[210, 150] == color // 2).all()
    assert (picture[50, 300] == color).all()
    assert not picture[50, 350].any()
    assert not picture[160, 150].any()


def test_small_images_are_enlarged_with_their_boxes() -> None:
    image = np.zeros((HEIGHT // 4, 60, 3), np.uint8)
    picture = drawn(image, np.array([[10.0, 20, 40, 60]]), [0], [""], [None], [None])
    assert picture.shape == (HEIGHT, 240, 3)
    assert (picture[160, 40] == class_color(0)).all()


def test_classes_have_colours_of_their_own() -> None:
    assert len({class_color(label) for label in range(20)}) == 20


def test_labels_are_left_and_what_was_found_is_right(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((HEIGHT, 400, 3), np.uint8))
    thing = Thing((100.0, 100.0, 200.0, 200.0), 0, 1e4)
    hidden = Thing((300.0, 100.0, 350.0, 200.0), 0, 5e3, ignored=True)
    example = Example(tmp_path / "a.png", HEIGHT, 400, (thing, hidden))
    boxes = np.array([[20.0, 30, 80, 90], [200, 200, 300, 300], [10, 10, 50, 300]])
    found = Found(boxes, np.array([0.9, 0.6, 0.3]), np.array([1.0, 1, 1]))
    picture = beside(example, found, ["a", "b"])
    assert picture.shape == (HEIGHT, 800 + GAP, 3)
    right = 400 + GAP
    assert (picture[150, 100] == class_color(0)).all()
    assert not picture[150, 300].any()  # not learned, not shown
    assert (picture[60, right + 20] == class_color(1)).all()
    assert (picture[250, right + 200] == class_color(1)).all()
    assert not picture[150, right + 10].any()  # below one half
    unsure = Found(boxes[2:], np.array([0.1]), np.array([1.0]))
    assert (beside(example, unsure, ["a", "b"])[150, right + 10] == class_color(1)).all()
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    assert not beside(example, nothing, ["a", "b"])[:, right:].any()
    write_pictures(tmp_path / "out", [example, example], [found, nothing], ["a", "b"])
    assert (read_image(tmp_path / "out" / "000_a.png") == picture).all()
    assert (tmp_path / "out" / "001_a.png").exists()
