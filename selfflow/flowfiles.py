"""The formats in which flow is written to files, by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from selfflow.io import Float, read_flo, read_kitti_png, write_flo, write_kitti_png
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

Writer = Callable[[Path, Float], None]
Reader = Callable[[Path], Float]


def write_npy(path: Path, flow: Float) -> None:
    """Write flow `(H, W, 2)` as a float32 `.npy` file."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, flow.astype(np.float32))


def read_npy(path: Path) -> Float:
    """Return the flow `(H, W, 2)` of a `.npy` file."""
    try:
        flow: Float = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error})") from None
    return flow


# Suffix, writer and reader of each format.
FORMATS: dict[str, tuple[str, Writer, Reader]] = {
    "flo": (".flo", write_flo, read_flo),
    "kitti": (".png", write_kitti_png, lambda path: read_kitti_png(path)[0]),
    "npy": (".npy", write_npy, read_npy),
}
