from pathlib import Path

import numpy as np
import pytest

from representation.readout.dense.sources import (
    Stored,
    contents_digest,
    read_picture,
    size_of,
)
from selfflow.runs.errors import UserError

h5py = pytest.importorskip("h5py")


def test_a_picture_is_the_same_in_a_file_and_in_matlabs(tmp_path: Path, write_image) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["images"] = pixels.transpose(0, 3, 2, 1)
    for number in range(2):
        stored = Stored(tmp_path / "a.mat", "images", number)
        image = write_image(tmp_path / f"{number}.png", pixels[number])
        assert np.array_equal(read_picture(stored), read_picture(image))
        assert size_of(stored) == size_of(image) == (4, 6)
    first, second = (Stored(tmp_path / "a.mat", "images", number) for number in range(2))
    assert contents_digest(first) == contents_digest(first) != contents_digest(second)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(UserError, match=r"not a \.mat file of version 7\.3"):
        size_of(Stored(tmp_path / "a.mat", "images", 0))
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["depths"] = np.zeros(3)
    with pytest.raises(UserError, match="no data set 'images'"):
        read_picture(Stored(tmp_path / "b.mat", "images", 0))
