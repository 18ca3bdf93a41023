"""BDD100K's boxes: one JSON list for each split, `labels/det_20/det_SPLIT.json`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from representation.readout.objects.example import Example, Thing, check_images, clipped
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_json

# The classes that FlowE detects, which are Cityscapes' eight; BDD100K's own evaluation adds
# "traffic light" and "traffic sign".
CLASSES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
KNOWN = (*CLASSES, "traffic light", "traffic sign")
SAME = {"pedestrian": "person", "motor": "motorcycle", "bike": "bicycle"}
UNCOUNTED = ("other person", "other vehicle", "trailer")  # not evaluated by BDD100K either
HEIGHT, WIDTH = 720, 1280  # of all its images; the files do not say it


def read_bdd(
    file: Path, images: Path, classes: Sequence[str], dropped: Counter[str]
) -> tuple[Example, ...]:
    """Return the images of a split; those that the file names without a label have no objects.

    Objects of BDD100K's classes that are not among `classes` are left out and counted.

    Raises:
        UserError: the file is of another kind, or names a class that BDD100K does not have.
    """
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: not BDD100K's format, a list of images is expected")
    try:
        examples = tuple(_example(each, file, images, classes, dropped) for each in content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{file}: not BDD100K's format ({problem})") from None
    check_images(examples, str(file))
    return examples


def _example(
    image: dict[str, Any], file: Path, images: Path, classes: Sequence[str], dropped: Counter[str]
) -> Example:
    things = []
    for each in image.get("labels") or ():
        box = each.get("box2d")
        if box is None:
            continue  # lanes and drivable areas of the older files
        name = SAME.get(each["category"], each["category"])
        if name not in KNOWN and name not in UNCOUNTED:
            raise UserError(f"{file}: class {name!r} is unknown; known: {', '.join(KNOWN)}")
        if name not in classes:
            dropped["other class"] += 1
            continue
        ends = [box[key] for key in ("x1", "y1", "x2", "y2")]
        found = clipped(ends, HEIGHT, WIDTH, dropped, f"{file}: {image['name']}")
        if found is not None:
            area = (found[2] - found[0]) * (found[3] - found[1])
            crowd = bool((each.get("attributes") or {}).get("crowd", False))
            things.append(Thing(found, classes.index(name), area, crowd))
    return Example(images / image["name"], HEIGHT, WIDTH, tuple(things))
