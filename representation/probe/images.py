"""A few labelled images: label maps beside them, or classes by their folders."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from representation.readout.class_folders import Labelled, read_class_folders
from selfflow.datasets import DATASETS, find_dataset
from selfflow.frames import fit_size
from selfflow.io import read_image
from selfflow.runs.errors import UserError
from selfflow.sequences import image_files

IGNORED = -1
SPLITS = ("train", "val", "test")
MAPS = "annot"  # `val/NAME.png` has its labels in `valannot/NAME.png`


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
    ignore: Collection[int] = (255,),
) -> LabelledImages:
    """Read a few labelled images, spread over what there is.

    They lie in CamVid's layout, `train/NAME` beside `trainannot/NAME`, `val` or `test` likewise,
    label maps being single-channel images of ids; the first part that there is is learned from, the
    second one is tested on, and a single one is divided in the middle. Or there is a folder for
    each class, see `representation.readout.class_folders`.

    Args:
        name_or_path: a folder, or the name of a data set in CamVid's layout.
        data_root: where data sets are.
        count: at most so many images in all, half of them to be tested on; of each class's folder
            at least one for either.
        short_side: to which images are reduced.
        ignore: ids that nobody is asked for.

    Raises:
        UserError: there is nothing of the kind, or an image or label map is broken.
    """
    root = Path(name_or_path)
    if not root.is_dir() and name_or_path.lower() in DATASETS:
        root = find_dataset(name_or_path.lower(), data_root)[1]
    elif not root.is_dir():
        raise UserError(f"no labelled images {name_or_path!r}: it is no folder and no data set")
    half = max(1, count // 2)
    dense = any((root / f"{split}{MAPS}").is_dir() for split in SPLITS)
    chosen = _dense_parts(root, half) if dense else _class_parts(root, half)
    read = [[_read(*place, short_side) for place in part] for part in chosen]
    return _numbered(read[0], read[1], ignore, dense)


Place = tuple[Path, Path | int]  # an image, and its label map or class
Parts = tuple[list[Place], list[Place]]  # to learn from, and to be tested on


def _dense_parts(root: Path, count: int) -> Parts:
    """Return images with their label maps."""
    parts: list[list[Place]] = []
    for split in SPLITS:
        maps = root / f"{split}{MAPS}"
        if not maps.is_dir() or not (root / split).is_dir():
            continue
        found = {path.stem: path for path in image_files(maps)}
        images = [path for path in image_files(root / split) if path.stem in found]
        parts.append([(path, found[path.stem]) for path in images])
    parts = [part for part in parts if part]
    if len(parts) == 1:
        middle = (len(parts[0]) + 1) // 2
        parts = [parts[0][:middle], parts[0][middle:]]
    if len(parts) < 2 or not parts[1]:
        raise UserError(
            f"{root}: no two images with label maps, train/NAME.png beside trainannot/NAME.png, "
            "and val likewise"
        )
    return _spread(parts[0], count), _spread(parts[1], count)


def _class_parts(root: Path, count: int) -> Parts:
    """Return images with the numbers of their classes, as many of each class."""
    found = read_class_folders(root)
    each = max(1, count // len(found.classes))

    def part(images: Labelled) -> list[Place]:
        places: list[list[Place]] = [[] for _ in found.classes]
        for path, label in zip(images.paths, images.labels, strict=True):
            places[label].append((path, label))
        return [place for group in places for place in _spread(group, each)]

    return part(found.train), part(found.test)


def _spread(places: list[Place], count: int) -> list[Place]:
    """Return `count` of the places, evenly spread."""
    if len(places) <= count:
        return places
    return [places[int((number + 0.5) * len(places) / count)] for number in range(count)]


def _read(path: Path, label: Path | int, short_side: int | None) -> LabelledImage:
    """Return an image with its labels, both reduced to a short side; ids are not mixed."""
    image = read_image(path)
    height, width = fit_size(image.shape[0], image.shape[1], short_side)
    if isinstance(label, int):
        labels = np.array(label)
    else:
        ids = read_ids(label)
        if ids.shape != image.shape[:2]:
            raise UserError(
                f"{label}: the label map is {ids.shape[1]}x{ids.shape[0]}, its image "
                f"{image.shape[1]}x{image.shape[0]}"
            )
        labels = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    pixels = torch.from_numpy(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    pixels = pixels.permute(2, 0, 1)[None].float() / 255
    return LabelledImage(pixels, torch.from_numpy(labels.astype(np.int64)))


def read_ids(path: Path) -> npt.NDArray[np.uint8]:
    """Return a label map, `(H, W)`; UserError unless it is an image of a single 8-bit channel."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise UserError(
                    f"{path}: a label map has one channel of 8-bit ids, this is {image.mode}"
                )
            return np.asarray(image, np.uint8)
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: a broken image ({error})") from None


def _numbered(
    train: list[LabelledImage], test: list[LabelledImage], ignore: Collection[int], dense: bool
) -> LabelledImages:
    """Return the images with their ids, those that occur, numbered from 0."""
    found = torch.cat([each.labels.flatten() for each in (*train, *test)]).unique().tolist()
    ids = [each for each in found if not (dense and each in ignore)]
    if len(ids) < 2:
        raise UserError(f"the labels are all the same: {ids}")
    number = torch.full((max(found) + 1,), IGNORED)
    number[ids] = torch.arange(len(ids))
    learned, tested = (
        [LabelledImage(each.image, number[each.labels]) for each in part] for part in (train, test)
    )
    return LabelledImages(learned, tested, len(ids), dense)
