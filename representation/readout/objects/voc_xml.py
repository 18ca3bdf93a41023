"""PASCAL VOC's annotations: an XML file for each image."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from representation.readout.objects.example import Example, Thing, clipped
from selfflow.runs.errors import UserError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


def read_xml(
    file: Path, image: Path, classes: Iterable[str] | None, dropped: Counter[str]
) -> tuple[Example, list[str]]:
    """Return an image and its objects, and the names of all classes that the file names.

    Coordinates count pixels from 1, both ends included. Labels are the numbers in `classes`, or
    zero where that is None. Objects marked difficult are ignored, as VOC's evaluation does;
    they are not learned from either.

    Raises:
        UserError: the file is broken, or an object's class is not one of `classes`.
    """
    try:
        root = ElementTree.parse(file).getroot()
        height, width = (int(_text(root, f"size/{key}")) for key in ("height", "width"))
        numbers = None if classes is None else {name: i for i, name in enumerate(classes)}
        things, names = [], []
        for each in root.iter("object"):
            name = _text(each, "name").strip()
            if numbers is not None and name not in numbers:
                raise UserError(f"{file}: class {name!r} is unknown; known: {', '.join(numbers)}")
            names.append(name)
            ends = [float(_text(each, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            box = clipped((ends[0] - 1, ends[1] - 1, *ends[2:]), height, width, dropped, str(file))
            if box is None:
                continue
            area = (box[2] - box[0]) * (box[3] - box[1])
            label = 0 if numbers is None else numbers[name]
            things.append(Thing(box, label, area, each.findtext("difficult") == "1"))
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise UserError(f"{file}: not a VOC annotation ({error})") from None
    if height <= 0 or width <= 0:
        raise UserError(f"{file}: a size of {width}x{height} is impossible")
    return Example(image, height, width, tuple(things)), names


def class_names(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of all objects' classes in some files, sorted."""
    names: set[str] = set()
    for file in files:
        names.update(read_xml(file, file, None, Counter())[1])
    return tuple(sorted(names))


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return text
