"""Where labelled objects are found on disk: known data sets, and any folder in two formats.

- `coco`: `annotations/instances_PART.json` (`person_keypoints_PART.json`) and `PART/*.jpg`.
- `voc`: `VOC2007/` and `VOC2012/` as they are unpacked; a part is `2007_trainval`, say; several
  are joined by `+`.
- `bdd100k`: `labels/det_20/det_PART.json` and `images/100k/PART/`.
- `cityscapes`: `gtFine/PART/` and `leftImg8bit/PART/`.
- any folder with `images/` and `annotations/*.xml`: every sixth image, in the order of their names,
  is tested on.
- any folder with annotation files in COCO's format: a part is a file's name in it (`train.json`, or
  `annotations.json` for both); images are looked for beside it, and in the folders there.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from representation.readout.objects import bdd_labels, cityscapes_instances, voc_xml
from representation.readout.objects.coco_format import Wanted, read_coco
from representation.readout.objects.example import Example, ObjectData, check_objects
from representation.readout.places import find_place
from selfflow.datasets import Dataset
from selfflow.runs.errors import UserError

EVERY = 6  # of a folder that has no split, each sixth image is tested on


@dataclass(frozen=True)
class Request:
    """What is asked of a data set; parts that are not named are the layout's own."""

    train: str | None
    test: str | None
    wanted: Wanted
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class ObjectLayout:
    """How a data set of labelled objects lies on disk, see `representation.readout.places`."""

    marks: tuple[str, ...]
    dataset: Dataset
    read: Callable[[Path, Request], ObjectData]


def read_objects(
    name_or_path: str, request: Request, data_root: Path | None
) -> tuple[ObjectData, Path]:
    """Return a data set and its folder.

    Raises:
        UserError: it is not there, broken, or holds nothing to learn from or to test on.
    """
    layout, folder = find_place(name_or_path, LAYOUTS, data_root)
    read = _folder if layout is None else layout.read
    return check_objects(read(folder, request), str(folder)), folder


def chosen_classes(
    available: tuple[str, ...], wanted: tuple[str, ...] | None, source: str
) -> tuple[str, ...]:
    """Return the classes that were asked for; UserError if one is not there."""
    unknown = [name for name in wanted or () if name not in available]
    if unknown:
        raise UserError(f"{source}: no class {unknown[0]!r}; it has {', '.join(available)}")
    return wanted or available


def _bdd(folder: Path, request: Request) -> ObjectData:
    _only_boxes("bdd100k", request)
    chosen_classes(bdd_labels.KNOWN, request.classes, str(folder))
    classes = request.classes or bdd_labels.CLASSES
    dropped: Counter[str] = Counter()

    def part(name: str) -> tuple[Example, ...]:
        file = folder / "labels" / "det_20" / f"det_{name}.json"
        return bdd_labels.read_bdd(file, folder / "images" / "100k" / name, classes, dropped)

    train, test = part(request.train or "train"), part(request.test or "val")
    return ObjectData(classes, train, test, dropped)


def _cityscapes(folder: Path, request: Request) -> ObjectData:
    if request.wanted == "keypoints":
        raise UserError(f"{folder}: cityscapes has no keypoints")
    dropped: Counter[str] = Counter()
    parts = request.train or "train", request.test or "val"
    read = {
        part: cityscapes_instances.read_cityscapes(folder, part, dropped)
        for part in dict.fromkeys(parts)
    }
    data = ObjectData(cityscapes_instances.CLASSES, read[parts[0]], read[parts[1]], dropped)
    return only_classes(data, request.classes, str(folder))


def _voc(folder: Path, request: Request) -> ObjectData:
    _only_boxes("voc", request)
    dropped: Counter[str] = Counter()
    years = [year for year in ("2007", "2012") if (folder / f"VOC{year}").is_dir()]

    def part(name: str) -> tuple[Example, ...]:
        year, _, split = name.partition("_")
        root = folder / f"VOC{year}"
        file = root / "ImageSets" / "Main" / f"{split}.txt"
        if not file.is_file():
            raise UserError(f"{file}: no such list of images, for part {name!r} of VOC")
        return tuple(
            voc_xml.read_xml(
                root / "Annotations" / f"{stem}.xml",
                root / "JPEGImages" / f"{stem}.jpg",
                voc_xml.CLASSES,
                dropped,
            )[0]
            for stem in file.read_text(encoding="utf-8").split()
        )

    def parts(names: str) -> tuple[Example, ...]:
        return tuple(example for name in names.split("+") for example in part(name))

    # As the papers do where 2007's test images are there: 07+12.
    tested = (folder / "VOC2007" / "ImageSets" / "Main" / "test.txt").is_file()
    split = "trainval" if tested else "train"
    train = request.train or "+".join(f"{year}_{split}" for year in years)
    test = request.test or ("2007_test" if tested else f"{years[-1]}_val")
    data = ObjectData(voc_xml.CLASSES, parts(train), parts(test), dropped, voc=True)
    return only_classes(data, request.classes, str(folder))


def _coco(folder: Path, request: Request) -> ObjectData:
    kind = "person_keypoints" if request.wanted == "keypoints" else "instances"
    parts = request.train or "train2017", request.test or "val2017"
    files = [folder / "annotations" / f"{kind}_{part}.json" for part in parts]
    return _both(files, [folder / part for part in parts], request)


def _folder(folder: Path, request: Request) -> ObjectData:
    if (folder / "annotations").is_dir() and next((folder / "annotations").glob("*.xml"), None):
        return _xml_folder(folder, request)
    files = sorted(each.name for each in folder.glob("*.json"))
    if not files:
        raise UserError(
            f"{folder}: neither annotations/*.xml nor an annotation file *.json in it, and none of "
            f"the layouts {', '.join(LAYOUTS)}"
        )
    parts = []
    for given, names in ((request.train, TRAIN), (request.test, TEST)):
        part = given or next((name for name in names if name in files), None)
        if part is None:
            raise UserError(
                f"{folder}: which of {', '.join(files)} is for training and which for testing? "
                "Say --set train=FILE --set test=FILE"
            )
        parts.append(part)
    paths = [folder / part for part in parts]
    return _both(paths, [folder, folder], request)


TRAIN = ("train.json", "annotations.json")
TEST = ("test.json", "val.json", "annotations.json")


def _both(files: list[Path], images: list[Path], request: Request) -> ObjectData:
    """Return two annotation files of COCO's format as a data set; they may be the same one."""
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such annotation file")
    dropped: Counter[str] = Counter()
    train = read_coco(files[0], images[0], request.wanted, dropped)
    if files[1] == files[0]:
        test = train
    else:
        test = read_coco(files[1], images[1], request.wanted, dropped, train.classes)
    data = ObjectData(train.classes, train.examples, test.examples, dropped, train.keypoints)
    return only_classes(data, request.classes, str(files[0]))


def _xml_folder(folder: Path, request: Request) -> ObjectData:
    _only_boxes(str(folder), request)
    if request.train or request.test:
        raise UserError(f"{folder} has no parts; every sixth image is tested on")
    files = sorted((folder / "annotations").glob("*.xml"))
    available = voc_xml.class_names(files)
    dropped: Counter[str] = Counter()
    examples = tuple(
        voc_xml.read_xml(file, _image_of(folder, file.stem), available, dropped)[0]
        for file in files
    )
    train = tuple(each for i, each in enumerate(examples) if (i + 1) % EVERY)
    data = ObjectData(available, train, examples[EVERY - 1 :: EVERY], dropped, voc=True)
    return only_classes(data, request.classes, str(folder))


def _image_of(folder: Path, stem: str) -> Path:
    found = [folder / "images" / (stem + suffix) for suffix in (".jpg", ".png", ".jpeg")]
    return next((each for each in found if each.is_file()), found[0])


def _only_boxes(name: str, request: Request) -> None:
    if request.wanted != "boxes":
        raise UserError(f"{name} has boxes alone, no {request.wanted}")


def only_classes(data: ObjectData, classes: tuple[str, ...] | None, source: str) -> ObjectData:
    """Return a data set with the objects of some classes alone, numbered in their order."""
    if classes is None:
        return data
    chosen_classes(data.classes, classes, source)
    numbers = {data.classes.index(name): number for number, name in enumerate(classes)}

    def kept(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        return tuple(
            replace(
                example,
                things=tuple(
                    replace(thing, label=numbers[thing.label])
                    for thing in example.things
                    if thing.label in numbers
                ),
            )
            for example in examples
        )

    return replace(data, classes=classes, train=kept(data.train), test=kept(data.test))


LAYOUTS: Mapping[str, ObjectLayout] = {
    "coco": ObjectLayout(
        ("annotations/instances_*.json", "annotations/person_keypoints_*.json"),
        Dataset(("coco", "coco2017", "mscoco"), "https://cocodataset.org"),
        _coco,
    ),
    "voc": ObjectLayout(
        ("VOC2007/Annotations", "VOC2012/Annotations"),
        Dataset(("voc", "vocdevkit", "pascalvoc"), "http://host.robots.ox.ac.uk/pascal/VOC"),
        _voc,
    ),
    "bdd100k": ObjectLayout(
        ("labels/det_20/det_*.json",),
        Dataset(("bdd100k", "bdd"), "https://bdd-data.berkeley.edu (100K images, detection 2020)"),
        _bdd,
    ),
    "cityscapes": ObjectLayout(
        ("gtFine/*/*/*_gtFine_instanceIds.png",),
        Dataset(("cityscapes",), "https://www.cityscapes-dataset.com (leftImg8bit, gtFine)"),
        _cityscapes,
    ),
}
