"""Films: pictures one after the other in an mp4 file."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from selfflow.io import Bytes
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

USUAL_RATE = 10.0  # pictures a second, where the source tells none


def write_film(path: Path, pictures: Iterable[Bytes], rate: float | None = None) -> None:
    """Write pictures `(H, W, 3)` of one size as an mp4 film, whole or not at all.

    Args:
        path: of the film.
        pictures: taken one at a time.
        rate: pictures a second.
    """
    with atomic_write(path) as temporary:
        writer = cv2.VideoWriter()
        try:
            for picture in pictures:
                even = _even(picture)
                if not writer.isOpened():
                    codec = cv2.VideoWriter.fourcc(*"mp4v")
                    size = (even.shape[1], even.shape[0])
                    if not writer.open(str(temporary), codec, rate or USUAL_RATE, size):
                        raise UserError(f"{path}: this OpenCV cannot write mp4 films")
                writer.write(np.ascontiguousarray(even[..., ::-1]))
        finally:
            writer.release()


def _even(picture: Bytes) -> Bytes:
    """Return a picture with even sides, which the codec wants."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
