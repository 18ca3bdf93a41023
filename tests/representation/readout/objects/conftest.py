"""Pictures of bright squares with known boxes, and small detectors for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from representation.readout.objects.settings import DetectorSettings, ObjectSettings
from selfflow.io import write_image

TINY: dict[str, Any] = {
    "architecture": "resnet18",
    "batch_size": 2,
    "short_sides": [64],
    "test_short_side": 64,
    "long_side": 96,
    "precise_norm": 0,
    "pictures": 1,
    "detector.pyramid": 16,
    "detector.width": 16,
    "detector.mask_width": 8,
    "detector.keypoint_width": 8,
    "detector.anchors": [8, 16, 32, 64, 128],
    "detector.candidates": 30,
    "detector.proposals": 30,
    "detector.test_candidates": 20,
    "detector.test_proposals": 20,
    "detector.anchor_samples": 16,
    "detector.box_samples": 16,
    "loop.steps": 2,
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Settings of a network as small as can be."""
    return dict(TINY)


@pytest.fixture
def small_detector() -> Callable[..., DetectorSettings]:
    """Settings of a small detector, some of them given."""

    def make(**given: Any) -> DetectorSettings:
        own = {k.removeprefix("detector."): v for k, v in TINY.items() if k.startswith("detector.")}
        return DetectorSettings(**{**own, **given})

    return make


def draw_squares(folder: Path, count: int = 6, seed: int = 0, **extra: Any) -> Path:
    """Write noisy images with one to three squares of two classes, in COCO's format.

    Red squares are `red`, blue ones `blue`; one image has none.
    """
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = generator.integers(60, 120, (64, 80, 3)).astype(np.uint8)
        for _ in range(0 if number == 2 else generator.integers(1, 4)):
            side = int(generator.integers(16, 32))
            x, y = int(generator.integers(0, 80 - side)), int(generator.integers(0, 64 - side))
            label = int(generator.integers(0, 2))
            picture[y : y + side, x : x + side] = ((230, 20, 20), (20, 20, 230))[label]
            ends = [x, y, x + side, y, x + side, y + side, x, y + side]
            corners = [x, y, 2, x + side - 1, y, 2]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 7 + label,
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": [ends],
                    "keypoints": corners,
                    "num_keypoints": 2,
                }
            )
        write_image(folder / "images" / f"{number}.png", picture)
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 80})
    categories = [
        {"id": 7, "name": "red", "keypoints": ["left_top", "right_top"]},
        {"id": 8, "name": "blue"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories, **extra}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A folder of images with squares, see `draw_squares`."""
    return draw_squares(tmp_path / "squares")


@pytest.fixture
def draw() -> Callable[..., Path]:
    """The function of this file that draws squares."""
    return draw_squares


@pytest.fixture
def settings_of() -> Callable[..., ObjectSettings]:
    """Settings of a tiny readout on a folder."""

    def make(folder: Path, **given: Any) -> ObjectSettings:
        from selfflow.runs.config import load

        values = {"encoder": "random", "data": str(folder), **TINY, **given}
        return load(ObjectSettings, values={"protocol": "default", **values})

    return make


@pytest.fixture
def noise() -> Callable[..., list[torch.Tensor]]:
    """Random images of some sizes."""

    def make(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.rand(3, *size, generator=generator) for size in sizes]

    return make
