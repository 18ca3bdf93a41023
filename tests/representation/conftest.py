"""What the tests of several methods need."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from representation.method import Frames
from selfflow.random import key


def smooth_frames(
    count: int = 4, seed: int = 0, height: int = 48, width: int = 64, first: int = 0
) -> Frames:
    """Return pairs of smooth random frames without flow; pair i of a seed is always the same."""

    def frame(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + number)
        small = torch.rand(1, 3, height // 8, width // 8, generator=generator)
        return F.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)

    numbers = range(first, first + count)
    image1 = torch.cat([frame(2 * n) for n in numbers])
    image2 = torch.cat([frame(2 * n + 1) for n in numbers])
    sizes = torch.tensor((height, width)).expand(count, 2)
    return Frames(image1, image2, key(seed, torch.tensor(numbers)), sizes)


@pytest.fixture
def frames_of() -> Callable[..., Frames]:
    """The function of this file that makes frames."""
    return smooth_frames
