"""Images in folders by class, split into what is learned from and what is tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfflow.runs.errors import UserError
from selfflow.sequences import image_files

TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation")
EVERY = 5  # without folders for both, each fifth image of a class is tested on


@dataclass(frozen=True)
class Labelled:
    """Image files and the numbers of their classes, in the same order."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class ClassFolders:
    """A data set for classification.

    Attributes:
        classes: their names, by number.
        train: what is learned from.
        test: what is tested on.
    """

    classes: tuple[str, ...]
    train: Labelled
    test: Labelled


def read_class_folders(root: Path) -> ClassFolders:
    """Return the images of `ROOT/train/CLASS/*` and `ROOT/val/CLASS/*` (or test), by name.

    Of a folder with classes alone, `ROOT/CLASS/*`, every fifth image of a class is tested on.

    Raises:
        UserError: there are fewer than two classes, a class has no image on one side, or the two
            sides have different classes.
    """
    train, test = _first(root, TRAIN), _first(root, TEST)
    if train is not None and test is not None:
        classes, other = _class_names(train), _class_names(test)
        if classes != other:
            differing = sorted(set(classes) ^ set(other))
            raise UserError(f"{train} and {test} differ in their classes: {', '.join(differing)}")
        return ClassFolders(classes, _labelled(train, classes), _labelled(test, classes))
    classes = _class_names(root)
    images = [_images(root / name) for name in classes]
    few = [name for name, paths in zip(classes, images, strict=True) if len(paths) < EVERY]
    if few:
        raise UserError(
            f"{root / few[0]}: too few images to test on every fifth; there are no folders "
            f"{root.name}/train and {root.name}/test either"
        )
    return ClassFolders(
        classes,
        _joined([[p for i, p in enumerate(paths) if (i + 1) % EVERY] for paths in images]),
        _joined([paths[EVERY - 1 :: EVERY] for paths in images]),
    )


def _first(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(each.name for each in folder.iterdir() if each.is_dir()))
    if len(names) < 2:
        raise UserError(f"{folder}: at least two folders are needed, one for each class")
    return names


def _labelled(folder: Path, classes: Sequence[str]) -> Labelled:
    return _joined([_images(folder / name) for name in classes])


def _images(folder: Path) -> list[Path]:
    found = image_files(folder)
    if not found:
        raise UserError(f"{folder}: no image of this class")
    return found


def _joined(images: Sequence[Sequence[Path]]) -> Labelled:
    return Labelled(
        tuple(path for paths in images for path in paths),
        tuple(label for label, paths in enumerate(images) for _ in paths),
    )
