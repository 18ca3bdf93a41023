"""Cityscapes' instances: `gtFine/SPLIT/CITY/*_gtFine_instanceIds.png`."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from representation.readout.objects.example import Example, Thing, clipped
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track

IDS = {24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus"}
IDS |= {31: "train", 32: "motorcycle", 33: "bicycle"}
CLASSES = tuple(IDS.values())
SUFFIX = "_gtFine_instanceIds.png"


def read_cityscapes(folder: Path, split: str, dropped: Counter[str]) -> tuple[Example, ...]:
    """Return the images of a split of Cityscapes.

    A pixel is 1000 · class + number of the object. Where it is the class alone, things cannot be
    told apart; such a region is ignored (COCO's crowd), as detectron2 does. Other classes are no
    objects.

    Raises:
        UserError: there is no such split, a file is broken, or an image is missing.
    """
    files = sorted((folder / "gtFine" / split).glob(f"*/*{SUFFIX}"))
    if not files:
        raise UserError(f"{folder}: no gtFine/{split}/CITY/*{SUFFIX}")
    return tuple(_example(folder, split, file, dropped) for file in track(files, "Labels"))


def _example(folder: Path, split: str, file: Path, dropped: Counter[str]) -> Example:
    name = file.name.removesuffix(SUFFIX)
    stem = folder / "leftImg8bit" / split / file.parent.name / f"{name}_leftImg8bit"
    found = [stem.with_name(stem.name + suffix) for suffix in (".png", ".jpg")]
    image = next((each for each in found if each.is_file()), None)
    if image is None:
        raise UserError(f"{found[0]}: no such image (its labels are {file})")
    numbers = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if numbers is None or numbers.ndim != 2:
        raise UserError(f"{file}: not a PNG of one channel, or a broken one")
    height, width = numbers.shape
    things = []
    for value in np.unique(numbers):
        single = value >= 1000
        class_id = int(value) // 1000 if single else int(value)
        if class_id not in IDS:
            continue
        mask = dict(rle.encode(np.asfortranarray(numbers == value, np.uint8)))
        x, y, wide, high = rle.toBbox(mask).tolist()
        box = clipped((x, y, x + wide, y + high), height, width, dropped, str(file))
        if box is not None:
            label = CLASSES.index(IDS[class_id])
            things.append(Thing(box, label, float(rle.area(mask)), not single, mask))
    return Example(image, height, width, tuple(things))
