"""Any folder of images and label maps."""

from collections.abc import Sequence
from pathlib import Path

from representation.readout.dense.examples import Example, Parts, matched
from representation.readout.dense.labels import read_numbers
from representation.readout.dense.layouts import Segmented, by_key, checked
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.sequences import image_files

WHOLE = "all"


def folder_parts(root: Path, labels: str = "labels") -> Parts:
    """Return the examples in a folder, by part.

    ROOT/images/PART beside ROOT/labels/PART, or ROOT/PART/images beside ROOT/PART/labels; of
    ROOT/images beside ROOT/labels the only part is called `all`.

    Raises:
        UserError: there are none of these, or an image has no label map.
    """
    pairs = _pairs(root, labels)
    parts = {name: _examples(root, images, maps) for name, (images, maps) in pairs.items()}
    if not pairs:
        raise UserError(f"{root}: there is no folder images/ beside a folder {labels}/ in it")
    return checked(parts, root)


def read_folder(root: Path, classes: int | None = None, ignored: int = 255) -> Segmented:
    """Return a folder of images and label maps as a data set.

    The classes' names are the lines of ROOT/classes.txt, number 0 first; without that file there
    are `classes`, and without that as many as the largest number in any label map tells.
    """
    parts = folder_parts(root)
    file = root / "classes.txt"
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if classes not in (None, len(names)):
            raise UserError(f"{file} names {len(names)} classes, not {classes}")
    else:
        examples = [example for part in parts.values() for example in part]
        names = [str(number) for number in range(classes or _largest(examples, ignored) + 1)]
    if len(names) < 2:
        raise UserError(f"{root}: at least two classes are needed, there are {len(names)}")
    train, test = usual_parts(parts)
    return Segmented(tuple(names), parts, ignored=(ignored,), train=train, test=test)


def usual_parts(parts: Parts) -> tuple[str, str]:
    """Return the parts that are trained and tested on if none are named.

    Of a folder without parts that would be the same images, which is an error then: name pieces.
    """
    train = "train" if "train" in parts else next(iter(parts))
    return train, next((name for name in ("val", "test") if name in parts), train)


def _pairs(root: Path, labels: str) -> dict[str, tuple[Path, Path]]:
    images, maps = root / "images", root / labels
    if images.is_dir() and maps.is_dir():
        inner = sorted(each.name for each in images.iterdir() if (maps / each.name).is_dir())
        if inner:
            return {name: (images / name, maps / name) for name in inner}
        return {WHOLE: (images, maps)}
    return {
        each.name: (each / "images", each / labels)
        for each in sorted(root.iterdir())
        if (each / "images").is_dir() and (each / labels).is_dir()
    }


def _examples(root: Path, images: Path, maps: Path) -> tuple[Example, ...]:
    return matched(root, image_files(images), by_key(maps), str(maps))


def _largest(examples: Sequence[Example], ignored: int) -> int:
    """Return the largest number in the label maps that stands for a class."""
    largest = 0
    for example in track(examples, "Classes"):
        numbers = read_numbers(example.label)
        largest = max(largest, int(numbers[numbers != ignored].max(initial=0)))
    if largest > 254:
        raise UserError(f"a label map holds {largest}: are these class numbers? say data.classes")
    return largest
