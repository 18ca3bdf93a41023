from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from representation.readout.dense.labels import IGNORE, LabelReader, read_numbers
from representation.readout.dense.layouts import Segmented
from selfflow.runs.errors import UserError


def test_palette_and_16_bit_images_are_read_as_numbers(tmp_path: Path) -> None:
    numbers = np.array([[0, 3], [255, 7]], np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette([value for color in range(256) for value in (color, 255 - color, 7)])
    image.save(tmp_path / "palette.png")
    Image.fromarray(numbers.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert read_numbers(tmp_path / "palette.png").tolist() == numbers.tolist()
    assert read_numbers(tmp_path / "deep.png").tolist() == [[0, 771], [65535, 1799]]


def test_numbers_become_classes(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 8, 0, 255]], np.uint8)).save(tmp_path / "ids.png")
    data = Segmented(("road", "sidewalk"), {}, ids={7: 0, 8: 1})
    assert LabelReader(data)(tmp_path / "ids.png").tolist() == [[0, 1, IGNORE, IGNORE]]
    Image.fromarray(np.array([[0, 1, 11, 255]], np.uint8)).save(tmp_path / "own.png")
    data = Segmented(("sky", "road"), {}, ignored=(11, 255))
    assert LabelReader(data)(tmp_path / "own.png").tolist() == [[0, 1, IGNORE, IGNORE]]


def test_a_number_out_of_range_is_an_error_that_names_file_and_number(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2]], np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(UserError, match=r"label\.png holds 2, but there are 2 classes, 0 to 1"):
        LabelReader(Segmented(("sky", "road"), {}))(tmp_path / "label.png")


def test_a_label_map_in_colours_or_none_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "colours.png")
    with pytest.raises(UserError, match="holds colours"):
        read_numbers(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="not an image"):
        read_numbers(tmp_path / "text.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_numbers(tmp_path / "missing.png")
