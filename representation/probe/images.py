"""A few labelled images: label maps beside them, or classes by their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from representation.readout.class_folders import Labelled, read_class_folders
from representation.readout.dense.checks import check_sizes
from representation.readout.dense.examples import Example
from representation.readout.dense.folders import read_folder
from representation.readout.dense.labels import IGNORE, LabelReader
from representation.readout.dense.layouts import LAYOUTS, Segmented
from representation.readout.dense.sources import read_picture
from representation.readout.places import find_place
from selfflow.frames import fit_size
from selfflow.io import Bytes, read_image
from selfflow.runs.errors import UserError

IGNORED = -1

T = TypeVar("T")


@dataclass(frozen=True)
class LabelledImage:
    """An image and what it shows.

    Attributes:
        image: `(1, 3, H, W)` in [0, 1].
        labels: of each pixel, `(H, W)` int64, IGNORED where nobody knows; or of the image, `()`.
    """

    image: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LabelledImages:
    """A few images to learn from and others to be tested on.

    Attributes:
        train: to learn from.
        test: others.
        classes: labels are from 0 to this, excluded.
        dense: whether each pixel has a label.
    """

    train: list[LabelledImage]
    test: list[LabelledImage]
    classes: int
    dense: bool


def open_labelled(
    name_or_path: str,
    data_root: Path | None = None,
    *,
    count: int = 40,
    short_side: int | None = None,
) -> LabelledImages:
    """Read a few labelled images, spread over what there is.

    They are a data set that `representation readout segmentation` knows, a folder in the layout of
    one (CamVid's, say), a folder `images` beside `labels`, or a folder for each class, see
    `representation.readout.class_folders`.

    Args:
        name_or_path: a folder, or the name of a data set.
        data_root: where data sets are.
        count: at most so many images in all, half of them to be tested on; of each class's folder
            at least one for either.
        short_side: to which images are reduced.

    Raises:
        UserError: there is nothing of the kind, or an image or label map is broken.
    """
    half = max(1, count // 2)
    layout, root = find_place(name_or_path, LAYOUTS, data_root)
    if layout is not None:
        return _dense(layout.read(root), root, half, short_side)
    if any((root / name).is_dir() for name in ("labels", "train/labels")):
        return _dense(read_folder(root), root, half, short_side)
    return _by_class(root, half, short_side)


def _dense(data: Segmented, root: Path, count: int, short_side: int | None) -> LabelledImages:
    """Return images with label maps: of two parts, or of the halves of a single one."""
    names = [name for name in (data.train, data.test, *data.parts) if name in data.parts]
    train = list(data.parts[names[0]])
    test = next((list(data.parts[name]) for name in names if name != names[0]), None)
    if test is None:
        middle = (len(train) + 1) // 2
        train, test = train[:middle], train[middle:]
    if not test:
        raise UserError(f"{root}: a probe needs two images with label maps at least")
    train, test = spread(train, count), spread(test, count)
    check_sizes([*train, *test])
    read = LabelReader(data)

    def load(example: Example) -> LabelledImage:
        image, found = read_picture(example.image), read(example.label).numpy()
        size = fit_size(image.shape[0], image.shape[1], short_side)
        labels = cv2.resize(found, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        known = torch.from_numpy(labels.astype(np.int64))
        return LabelledImage(_pixels(image, size), known.masked_fill(known == IGNORE, IGNORED))

    learned, tested = ([load(each) for each in part] for part in (train, test))
    return LabelledImages(learned, tested, len(data.classes), True)


def _by_class(root: Path, count: int, short_side: int | None) -> LabelledImages:
    """Return images with their classes, as many of each class."""
    found = read_class_folders(root)
    each = max(1, count // len(found.classes))

    def part(images: Labelled) -> list[LabelledImage]:
        places: list[list[Path]] = [[] for _ in found.classes]
        for path, label in zip(images.paths, images.labels, strict=True):
            places[label].append(path)
        return [
            LabelledImage(_pixels(image, size), torch.tensor(label))
            for label, paths in enumerate(places)
            for image in map(read_image, spread(paths, each))
            for size in (fit_size(image.shape[0], image.shape[1], short_side),)
        ]

    return LabelledImages(part(found.train), part(found.test), len(found.classes), False)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return `count` of the items, evenly spread; all if there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


def _pixels(image: Bytes, size: tuple[int, int]) -> Tensor:
    """Return an image `(H, W, 3)` at a size (height, width), `(1, 3, h, w)` in [0, 1]."""
    resized = torch.from_numpy(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))
    return resized.permute(2, 0, 1)[None].float() / 255
