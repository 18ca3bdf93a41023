"""What several tests need: textured pictures that move."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from selfflow.io import Bytes, write_image


def texture(seed: int, height: int = 200, width: int = 260) -> Bytes:
    """A picture with structure at several scales, in colours of its own."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cell in (4, 12, 40):
        size = (height // cell + 2, width // cell + 2, 3)
        grid = generator.normal(0, 1, size).astype(np.float32)
        picture += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    tint = generator.uniform(60, 200, 3)
    return np.clip(tint + 30 * picture, 0, 255).astype(np.uint8)


def film(seed: int, count: int, height: int = 96, width: int = 128, step: int = 3) -> list[Bytes]:
    """A window that travels over a texture by `step` pixels a frame."""
    picture = texture(seed, height + 40, width + step * count)
    return [picture[20 : 20 + height, step * k : step * k + width].copy() for k in range(count)]


def write_frames(folder: Path, frames: list[Bytes], name: str = "{:05d}.png") -> list[Path]:
    paths = [folder / name.format(number) for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        write_image(path, frame)
    return paths


def write_video(path: Path, frames: list[Bytes], codec: str = "mp4v", rate: float = 15.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()


@pytest.fixture
def films() -> SimpleNamespace:
    """The functions of this file."""
    return SimpleNamespace(
        texture=texture, film=film, write_frames=write_frames, write_video=write_video
    )
