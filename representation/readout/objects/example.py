"""Labelled images with objects, as all readers return them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selfflow.runs.errors import UserError

Array = npt.NDArray[np.float64]
Rle = dict[str, Any]
"""A mask as pycocotools packs it: `size` (height, width) and `counts`, bytes."""

SMALLEST = 1.0  # px; what is left of a box must be as wide and as high


@dataclass(frozen=True)
class Thing:
    """One object of an image.

    Attributes:
        box: x1, y1, x2, y2 in pixels, of the edges: the first pixel's box is 0, 0, 1, 1.
        label: number of its class.
        area: square pixels, of the mask where there is one; says whether it is small or large.
        ignored: neither learned from nor counted when missed or found: a crowd, VOC's difficult.
        mask: as large as the image, or None.
        keypoints: `(K, 3)`: x, y in pixels (pixel i's centre is i + 0.5), and 0 for not labelled,
            1 for hidden, 2 for visible; or None.
    """

    box: tuple[float, float, float, float]
    label: int
    area: float
    ignored: bool = False
    mask: Rle | None = None
    keypoints: Array | None = None


@dataclass(frozen=True)
class Example:
    """An image's file, its size in pixels, and its objects; there may be none."""

    image: Path
    height: int
    width: int
    things: tuple[Thing, ...]

    @property
    def learned(self) -> tuple[Thing, ...]:
        """The objects that are learned from."""
        return tuple(thing for thing in self.things if not thing.ignored)


@dataclass(frozen=True)
class KeypointScheme:
    """Which points an object has.

    Attributes:
        names: of the points.
        flipped: which point each becomes in a mirrored image.
        deviations: how exact people are, relative to the object's size; OKS divides by them.
    """

    names: tuple[str, ...]
    flipped: tuple[int, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class ObjectData:
    """A data set.

    Attributes:
        classes: their names, by number.
        train: what is learned from.
        test: what is tested on.
        dropped: how many boxes were left out, by reason.
        keypoints: of the one class that has them, or None.
        voc: whether they are also scored as PASCAL VOC does.
    """

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    keypoints: KeypointScheme | None = None
    voc: bool = False


def clipped(
    box: Sequence[float], height: int, width: int, dropped: Counter[str], source: str
) -> tuple[float, float, float, float] | None:
    """Return a box clipped to its image, or None if nothing is left; that is counted.

    Args:
        box: x1, y1, x2, y2.
        height: of the image.
        width: of the image.
        dropped: "empty" boxes are counted here, and those "outside" of the image.
        source: what an error names.

    Raises:
        UserError: a coordinate is not finite.
    """
    if len(box) != 4 or not np.isfinite(box).all():
        raise UserError(f"{source}: a box of four finite numbers is expected, got {list(box)}")
    x1, y1, x2, y2 = map(float, box)
    if x2 - x1 < SMALLEST or y2 - y1 < SMALLEST:
        dropped["empty"] += 1
        return None
    x1, x2 = max(x1, 0.0), min(x2, float(width))
    y1, y2 = max(y1, 0.0), min(y2, float(height))
    if x2 - x1 < SMALLEST or y2 - y1 < SMALLEST:
        dropped["outside"] += 1
        return None
    return x1, y1, x2, y2


def check_images(examples: Sequence[Example], source: str) -> None:
    """Raise UserError if there is no image, or a file of one is missing."""
    if not examples:
        raise UserError(f"{source}: there are no images")
    missing = [each.image for each in examples if not each.image.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such image ({len(missing)} are missing; {source})")


def check_objects(data: ObjectData, source: str) -> ObjectData:
    """Return the data; raise UserError if there is nothing to learn from, or to test on."""
    for side, examples in {"train": data.train, "test": data.test}.items():
        check_images(examples, source)
        if not any(example.learned for example in examples):
            counted = f" ({dict(data.dropped)} left out)" if data.dropped else ""
            raise UserError(f"{source}: no image to {side} on has an object{counted}")
        if data.keypoints is not None and not any(map(_has_points, examples)):
            raise UserError(f"{source}: no image to {side} on has a labelled keypoint")
    return data


def _has_points(example: Example) -> bool:
    return any(
        thing.keypoints is not None and bool((thing.keypoints[:, 2] > 0).any())
        for thing in example.learned
    )


def counts(data: ObjectData) -> dict[str, Any]:
    """Return what a result says of a data set: images and objects of both sides, classes."""
    learned = Counter(thing.label for example in data.train for thing in example.learned)
    return {
        "classes": list(data.classes),
        "train": len(data.train),
        "test": len(data.test),
        "train_objects": sum(learned.values()),
        "test_objects": sum(len(example.learned) for example in data.test),
        "train_without_objects": sum(not example.learned for example in data.train),
        "classes_without_training": [
            name for number, name in enumerate(data.classes) if not learned[number]
        ],
        "dropped_boxes": dict(data.dropped),
    }
