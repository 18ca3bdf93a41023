"""A data set in DAVIS's layout: a texture that moves on by whole patches, and objects on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATCH = 8


def write_davis(
    root: Path,
    *,
    names: tuple[str, ...] = ("a",),
    frames: int = 6,
    size: tuple[int, int] = (64, 96),
    objects: int = 2,
    binary: bool = False,
    permuted: bool = False,
) -> Path:
    """Write sequences whose texture moves right by a patch a frame, and return `root`.

    Objects are bands two patches wide, from top to bottom, that move along. With `permuted`, each
    frame but the first has its patches in another order, so that nothing says where they went.
    """
    for number, name in enumerate(names):
        generator = np.random.default_rng(number)
        texture = generator.integers(0, 256, (*size, 3), np.uint8)
        for index in range(frames):
            image = np.roll(texture, index * PATCH, 1)
            if permuted and index:
                image = shuffled(image, generator)
            mask = np.zeros(size, np.uint8)
            for one in range(objects):
                left = PATCH * (1 + 2 * one + index)
                mask[:, left : left + 2 * PATCH] = 255 if binary else one + 1
            for folder, array, mode in (("JPEGImages", image, "RGB"), ("Annotations", mask, "L")):
                path = root / folder / "480p" / name / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array, mode).save(path)
    return root


def shuffled(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width = image.shape[0] // PATCH, image.shape[1] // PATCH
    patches = (
        image.reshape(height, PATCH, width, PATCH, 3).swapaxes(1, 2).reshape(-1, PATCH, PATCH, 3)
    )
    patches = generator.permutation(patches).reshape(height, width, PATCH, PATCH, 3)
    return patches.swapaxes(1, 2).reshape(image.shape)


@pytest.fixture
def davis() -> Callable[..., Path]:
    """The function of this file that writes a data set."""
    return write_davis
