"""Where a picture or a label map comes from: an image file, or an array in an HDF5 file."""

import hashlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from selfflow.io import Bytes, image_size, read_image
from selfflow.runs.errors import UserError


@dataclass(frozen=True, order=True)
class Stored:
    """One of many arrays in a data set of an HDF5 file, such as MATLAB's files of version 7.3.

    MATLAB's order of axes is read backwards: `(N, W, H)` or `(N, 3, W, H)`.

    Attributes:
        file: its path.
        dataset: its name in the file.
        index: of the array.
    """

    file: Path
    dataset: str
    index: int

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return f"{self.dataset} {self.index}"

    def __str__(self) -> str:
        return f"{self.file}, {self.name}"


Source = Path | Stored


def read_picture(source: Source) -> Bytes:
    """Return a picture `(H, W, 3)` uint8 RGB."""
    if isinstance(source, Path):
        return read_image(source)
    return np.ascontiguousarray(read_stored(source).T, np.uint8)


def size_of(source: Source) -> tuple[int, int]:
    """Return the (height, width) of a picture or a label map, without reading all of it."""
    if isinstance(source, Path):
        return image_size(source)
    shape = stored_shape(source.file, source.dataset)
    return shape[-1], shape[-2]


def contents_digest(source: Source) -> str:
    """Return 32 hexadecimal digits that tell a picture's contents from others."""
    raw = source.read_bytes() if isinstance(source, Path) else read_stored(source).tobytes()
    return hashlib.sha256(raw).hexdigest()[:32]


def read_stored(source: Stored) -> Any:
    """Return an array as it is stored."""
    with open_hdf5(source.file) as file:
        return dataset(file, source.file, source.dataset)[source.index]


def stored_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of a data set in an HDF5 file."""
    with open_hdf5(path) as file:
        return tuple(dataset(file, path, name).shape)


def dataset(file: Any, path: Path, name: str) -> Any:
    """Return a data set of an open HDF5 file; UserError if it is not there."""
    if name not in file:
        raise UserError(f"{path}: there is no data set {name!r} in it")
    return file[name]


def open_hdf5(path: Path) -> Any:
    """Return an open HDF5 file; UserError if it is none, or there is no h5py (optional)."""
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise UserError(f"{path} is read with h5py: pip install 'selfflow[nyu]'") from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path}: not a .mat file of version 7.3, or a broken one") from error
