"""COCO's format: one JSON file with images, categories and annotations."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle

from representation.readout.objects.example import (
    Example,
    KeypointScheme,
    Rle,
    Thing,
    check_images,
    clipped,
)
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_table

Wanted = Literal["boxes", "masks", "keypoints"]

# pycocotools' deviations of COCO's 17 points of a person; other points take their mean.
PERSON = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
PERSON_DEVIATIONS = tuple(each / 1000 for each in PERSON)


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file holds, with classes numbered in the order of their ids."""

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    keypoints: KeypointScheme | None


def read_coco(
    file: Path,
    images: Path,
    wanted: Wanted,
    dropped: Counter[str],
    known: tuple[str, ...] | None = None,
) -> CocoFile:
    """Return the images and objects of an annotation file.

    Args:
        file: the annotations.
        images: the folder that the file names are looked for in, or in one of its folders.
        wanted: masks are read only if asked for; of keypoints, only the class that has them.
        dropped: boxes that are left out are counted here.
        known: the classes that are numbered; None: those of this file.

    Raises:
        UserError: the file is none of this kind, an annotation is of an unknown image or class,
            an image is missing, or an object has no mask where masks are wanted.
    """
    content = read_table(file)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise UserError(f"{file}: not COCO's format, it has no list of {key}")
    try:
        return _read(file, content, images, wanted, dropped, known)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: not COCO's format ({type(error).__name__}: {error})") from None


def _read(
    file: Path,
    content: Mapping[str, Any],
    images: Path,
    wanted: Wanted,
    dropped: Counter[str],
    known: tuple[str, ...] | None,
) -> CocoFile:
    categories = sorted(content["categories"], key=lambda each: int(each["id"]))
    scheme = None
    if wanted == "keypoints":
        categories = [each for each in categories if each.get("keypoints")]
        if len(categories) != 1:
            raise UserError(f"{file}: {len(categories)} classes have keypoints; it has to be one")
        scheme = keypoint_scheme(categories[0])
    classes = known or tuple(str(each["name"]) for each in categories)
    numbers = {}
    for each in categories:
        if each["name"] not in classes:
            raise UserError(f"{file}: class {each['name']!r} is unknown to what is learned from")
        numbers[each["id"]] = classes.index(each["name"])
    all_ids = {each["id"] for each in content["categories"]}
    sizes = {each["id"]: (int(each["height"]), int(each["width"])) for each in content["images"]}
    things: dict[Any, list[Thing]] = defaultdict(list)
    for each in content["annotations"]:
        source = f"{file}: annotation {each.get('id')}"
        if each["image_id"] not in sizes:
            raise UserError(f"{source} is of an unknown image, {each['image_id']}")
        if each["category_id"] not in all_ids:
            raise UserError(f"{source} is of an unknown class, {each['category_id']}")
        if each["category_id"] not in numbers:
            continue  # a class without keypoints, where they are wanted
        size = sizes[each["image_id"]]
        thing = _thing(each, numbers[each["category_id"]], size, wanted, scheme, dropped, source)
        if thing is not None:
            things[each["image_id"]].append(thing)
    folder = image_folder(images, [str(each["file_name"]) for each in content["images"][:1]])
    examples = tuple(
        Example(folder / each["file_name"], *sizes[each["id"]], tuple(things[each["id"]]))
        for each in content["images"]
    )
    check_images(examples, str(file))
    return CocoFile(classes, examples, scheme)


def image_folder(folder: Path, names: Sequence[str]) -> Path:
    """Return `folder`, or the first of those in it, that has files of some names."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    places = [folder, *sorted(each for each in folder.iterdir() if each.is_dir())]
    return next((at for at in places if all((at / name).is_file() for name in names)), folder)


def _thing(
    annotation: Mapping[str, Any],
    label: int,
    size: tuple[int, int],
    wanted: Wanted,
    scheme: KeypointScheme | None,
    dropped: Counter[str],
    source: str,
) -> Thing | None:
    x, y, width, height = annotation["bbox"]
    box = clipped((x, y, x + width, y + height), *size, dropped, source)
    if box is None:
        return None
    mask = packed(annotation.get("segmentation"), size, source) if wanted == "masks" else None
    area = (box[2] - box[0]) * (box[3] - box[1]) if mask is None else float(rle.area(mask))
    if mask is not None and area == 0:
        dropped["empty mask"] += 1
        return None
    points = None
    if scheme is not None:
        points = np.array(annotation["keypoints"], np.float64).reshape(len(scheme.names), 3)
        points[:, :2] += 0.5  # from a pixel's number to its centre
    return Thing(
        box,
        label,
        float(annotation.get("area", area)),
        bool(annotation.get("iscrowd", False)),
        mask,
        points,
    )


def packed(segmentation: Any, size: tuple[int, int], source: str) -> Rle:
    """Return polygons, or a mask run-length encoded in either way, packed; `size` is (H, W)."""
    height, width = size
    if not segmentation:
        raise UserError(f"{source} has no mask")
    try:
        if isinstance(segmentation, list):
            return dict(rle.merge(rle.frPyObjects(segmentation, height, width)))
        if tuple(segmentation["size"]) != size:
            raise UserError(f"{source}: its mask is of another size than its image")
        if isinstance(segmentation["counts"], list):
            return dict(rle.frPyObjects(segmentation, height, width))
        counts = segmentation["counts"]
        return {
            "size": [height, width],
            "counts": counts.encode() if isinstance(counts, str) else counts,
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{source}: its mask cannot be read ({error})") from None


def keypoint_scheme(category: Mapping[str, Any]) -> KeypointScheme:
    """Return the points of a class; names that begin with left and right change places."""
    names = tuple(str(name) for name in category["keypoints"])
    other = {name: name for name in names}
    for name in names:
        for side, opposite in (("left", "right"), ("right", "left")):
            if name.startswith(side) and name.replace(side, opposite, 1) in other:
                other[name] = name.replace(side, opposite, 1)
    deviations = PERSON_DEVIATIONS
    if len(names) != len(deviations):
        deviations = (sum(PERSON_DEVIATIONS) / len(PERSON_DEVIATIONS),) * len(names)
    return KeypointScheme(names, tuple(names.index(other[name]) for name in names), deviations)
