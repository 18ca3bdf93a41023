import numpy as np

from representation.readout.dense.pictures import painted, palette, sheet


def test_colours_of_classes_are_told_apart() -> None:
    colors = np.array(palette(40), int)
    apart = np.abs(colors[:, None] - colors[None]).sum(-1) + 999 * np.eye(40, dtype=int)
    assert apart.min() > 10


def test_classes_are_painted_in_their_colours_and_nothing_is_black() -> None:
    shown = painted(np.array([[1, 255, 0]], np.uint8), [(9, 8, 7), (1, 2, 3)])
    assert shown.tolist() == [[[1, 2, 3], [0, 0, 0], [9, 8, 7]]]


def test_a_sheet_has_pictures_side_by_side_above_every_class() -> None:
    red, blue = (np.full((40, 200, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    legend = [(str(number), color) for number, color in enumerate(palette(7))]
    picture = sheet([("image", red), ("prediction", blue)], legend)
    values = np.array(picture)
    assert values[20, 10].tolist() == [255, 0, 0]
    assert values[20, 210].tolist() == [0, 0, 255]
    found = {tuple(color) for color in values[56:].reshape(-1, 3).tolist()}
    assert {color for _, color in legend} <= found
