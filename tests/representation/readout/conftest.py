"""Tiny data and encoders for the readouts of every pixel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from representation.encoder import Encoder

COLORS = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200)])


class Colors(Encoder):
    """Features are six fixed mixtures of a pixel's colour; nothing around it is seen."""

    def __init__(self, stride: int = 1, seed: int = 0, alignment: float = 0.0) -> None:
        super().__init__("colors", [6], [stride], alignment=alignment)
        self.mix = nn.Conv2d(3, 6, 1, stride=stride, bias=False)
        generator = torch.Generator().manual_seed(seed)
        self.mix.weight.data = torch.randn(6, 3, 1, 1, generator=generator)
        self.calls = 0

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        self.calls += 1
        return [self.mix(images)]


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def colored(labels: np.ndarray, seed: int) -> np.ndarray:
    """An image that shows class 0, 1, 2 in red, green, blue, with noise."""
    noise = np.random.default_rng(seed).normal(0, 20, (*labels.shape, 3))
    shown = COLORS[np.minimum(labels, 2)]
    return (shown + noise).clip(0, 255).astype(np.uint8)


def folder_of_colors(
    root: Path, train: int = 9, test: int = 6, size: tuple[int, int] = (24, 32)
) -> Path:
    """images/ and labels/ in train/ and val/: the upper part is of one class, the rest another."""
    for part, count in (("train", train), ("val", test)):
        for number in range(count):
            labels = np.full(size, number % 3, np.uint8)
            labels[size[0] // 2 :] = (number + 1) % 3
            name = f"{number:03d}.png"
            write(root / part / "images" / name, colored(labels, 100 * len(part) + number))
            write(root / part / "labels" / name, labels)
    return root


@pytest.fixture
def colors() -> type[Colors]:
    return Colors


@pytest.fixture
def make_folder() -> Callable[..., Path]:
    return folder_of_colors


@pytest.fixture
def write_image() -> Callable[[Path, np.ndarray], Path]:
    return write
