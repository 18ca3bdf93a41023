import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from representation.readout.objects import bdd_labels, cityscapes_instances, voc_xml
from representation.readout.objects.example import ObjectData, counts
from representation.readout.objects.layouts import Request, read_objects
from selfflow.io import write_image
from selfflow.runs.errors import UserError

BOXES = Request(None, None, "boxes", None)
MASKS = Request(None, None, "masks", None)


def blank(path: Path, height: int = 20, width: int = 30) -> None:
    write_image(path, np.zeros((height, width, 3), np.uint8))


def xml(path: Path, *objects: tuple[str, int, int, int, int], difficult: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    things = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin>"
        f"<ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    size = "<size><width>30</width><height>20</height></size>"
    path.write_text(f"<annotation>{size}{things}</annotation>")


def xml_folder(root: Path, count: int = 12) -> Path:
    for number in range(count):
        blank(root / "images" / f"{number:02d}.jpg")
        xml(root / "annotations" / f"{number:02d}.xml", ("cat", 1, 1, 30, 20), ("dog", 4, 5, 9, 9))
    return root


def read(folder: Path, request: Request = BOXES) -> ObjectData:
    return read_objects(str(folder), request, None)[0]


def test_of_a_folder_of_xml_every_sixth_image_is_tested_on(tmp_path: Path) -> None:
    data = read(xml_folder(tmp_path))
    assert [each.image.stem for each in data.test] == ["05", "11"]
    assert len(data.train) == 10
    assert data.classes == ("cat", "dog")
    assert data.train[0].things[0].box == (0, 0, 30, 20)  # both ends count, from 1
    assert data.train[0].things[1].box == (3, 4, 9, 9)


def test_some_classes_alone_are_numbered_in_their_order(tmp_path: Path) -> None:
    data = read(xml_folder(tmp_path), Request(None, None, "boxes", ("dog",)))
    assert data.classes == ("dog",)
    assert all(len(each.things) == 1 and each.things[0].label == 0 for each in data.train)
    with pytest.raises(UserError, match="no class 'cow'; it has cat, dog"):
        read(tmp_path, Request(None, None, "boxes", ("cow",)))


def test_difficult_objects_are_not_learned_from(tmp_path: Path) -> None:
    xml_folder(tmp_path)
    xml(tmp_path / "annotations" / "00.xml", ("cat", 1, 1, 30, 20), difficult=1)
    data = read(tmp_path)
    assert len(data.train[0].things) == 1
    assert not data.train[0].learned
    assert counts(data)["train_without_objects"] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<annotation>", "not a VOC annotation"),
        ("<annotation></annotation>", "size/height is missing"),
        (
            "<annotation><size><width>3</width><height>x</height></size></annotation>",
            "not a VOC annotation",
        ),
    ],
)
def test_a_broken_xml_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    xml_folder(tmp_path)
    (tmp_path / "annotations" / "03.xml").write_text(text)
    with pytest.raises(UserError, match=rf"03\.xml.*{problem}"):
        read(tmp_path)


def test_a_folder_without_any_object_is_an_error(tmp_path: Path) -> None:
    for number in range(12):
        blank(tmp_path / "images" / f"{number:02d}.jpg")
        xml(tmp_path / "annotations" / f"{number:02d}.xml", ("cat", 50, 5, 60, 9))
    with pytest.raises(UserError, match=r"no image to train on has an object .*outside.: 12"):
        read(tmp_path)


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    xml_folder(tmp_path)
    (tmp_path / "images" / "04.jpg").unlink()
    with pytest.raises(UserError, match=r"04\.jpg: no such image"):
        read(tmp_path)


def test_voc_takes_07_and_12_where_2007_can_be_tested(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit"
    lists = {"2007": {"trainval": ["a", "b"], "test": ["c"]}, "2012": {"trainval": ["d"]}}
    for year, splits in lists.items():
        for split, names in splits.items():
            file = root / f"VOC{year}" / "ImageSets" / "Main" / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(names) + "\n")
            for name in names:
                blank(root / f"VOC{year}" / "JPEGImages" / f"{name}.jpg")
                xml(root / f"VOC{year}" / "Annotations" / f"{name}.xml", ("cow", 2, 2, 9, 9))
    data = read_objects("voc", BOXES, tmp_path)[0]
    assert [each.image.stem for each in data.train] == ["a", "b", "d"]
    assert [each.image.stem for each in data.test] == ["c"]
    assert data.classes == voc_xml.CLASSES
    assert data.train[0].things[0].label == voc_xml.CLASSES.index("cow")
    only = read_objects("voc", Request("2012_trainval", "2007_trainval", "boxes", None), tmp_path)
    assert [each.image.stem for each in only[0].train] == ["d"]
    with pytest.raises(UserError, match=r"val\.txt: no such list"):
        read_objects("voc", Request("2012_val", None, "boxes", None), tmp_path)
    xml(root / "VOC2007" / "Annotations" / "a.xml", ("unicorn", 2, 2, 9, 9))
    with pytest.raises(UserError, match="class 'unicorn' is unknown"):
        read_objects("voc", BOXES, tmp_path)
    with pytest.raises(UserError, match="voc has boxes alone"):
        read_objects("voc", MASKS, tmp_path)


def bdd(root: Path, **labels: object) -> Path:
    for part in ("train", "val"):
        file = root / "labels" / "det_20" / f"det_{part}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        box = {"x1": 10, "y1": 20, "x2": 50, "y2": 60}
        known = [
            {"category": "pedestrian", "box2d": box},
            {"category": "traffic sign", "box2d": box},
            {"category": "rider", "box2d": box, "attributes": {"crowd": True}},
            {"category": "lane"},
        ]
        content = [{"name": "a.jpg", "labels": known}, {"name": "b.jpg", "labels": None}]
        file.write_text(json.dumps([*content, labels] if labels else content))
        for name in ("a.jpg", "b.jpg"):
            blank(root / "images" / "100k" / part / name)
    return root


def test_bdd100k_has_eight_classes_and_keeps_images_without_labels(tmp_path: Path) -> None:
    data = read(bdd(tmp_path))
    assert data.classes == bdd_labels.CLASSES
    assert [len(each.things) for each in data.train] == [2, 0]
    first, second = data.train[0].things
    assert (first.label, first.box, first.ignored) == (0, (10, 20, 50, 60), False)
    assert second.ignored
    assert data.dropped == {"other class": 2}
    signs = read(tmp_path, Request(None, None, "boxes", ("traffic sign",)))
    assert signs.train[0].things[0].label == 0


def test_bdd100k_with_an_unknown_class_is_an_error(tmp_path: Path) -> None:
    box = {"x1": 10, "y1": 20, "x2": 50, "y2": 60}
    bdd(tmp_path, name="a.jpg", labels=[{"category": "ufo", "box2d": box}])
    with pytest.raises(UserError, match="class 'ufo' is unknown"):
        read(tmp_path)


def cityscapes(root: Path) -> Path:
    numbers = np.full((20, 30), 7, np.uint16)  # road
    numbers[2:6, 3:9] = 26001  # two cars, a person, a group of persons
    numbers[10:14, 3:9] = 26002
    numbers[5:15, 20:24] = 24000
    numbers[15:20, 0:10] = 24
    for part in ("train", "val"):
        file = root / "gtFine" / part / "town" / f"town_0_0{cityscapes_instances.SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), numbers)
        blank(root / "leftImg8bit" / part / "town" / "town_0_0_leftImg8bit.png")
    return root


def test_cityscapes_objects_are_those_with_a_number_and_groups_are_ignored(tmp_path: Path) -> None:
    data = read(cityscapes(tmp_path), MASKS)
    things = data.train[0].things
    found = {(data.classes[each.label], each.box, each.ignored) for each in things}
    assert found == {
        ("car", (3, 2, 9, 6), False),
        ("car", (3, 10, 9, 14), False),
        ("person", (20, 5, 24, 15), False),
        ("person", (0, 15, 10, 20), True),
    }
    car = next(each for each in things if each.box == (3, 2, 9, 6))
    assert car.mask is not None
    assert rle.decode(car.mask)[2:6, 3:9].all()
    assert rle.decode(car.mask).sum() == car.area == 24


def test_cityscapes_without_a_part_or_an_image_is_an_error(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    with pytest.raises(UserError, match="no gtFine/test"):
        read(tmp_path, Request("train", "test", "masks", None))
    with pytest.raises(UserError, match="no keypoints"):
        read(tmp_path, Request(None, None, "keypoints", None))
    (tmp_path / "leftImg8bit/train/town/town_0_0_leftImg8bit.png").unlink()
    with pytest.raises(UserError, match=r"leftImg8bit\.png: no such image"):
        read(tmp_path, MASKS)


def test_coco_by_name_and_a_folder_of_its_format(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "one")
    data = read(tmp_path / "one", MASKS)
    assert data.train == data.test
    draw(tmp_path / "coco" / "val2017", 3)
    draw(tmp_path / "coco" / "train2017", 4, seed=1)
    (tmp_path / "coco" / "annotations").mkdir()
    for part in ("train2017", "val2017"):
        folder = tmp_path / "coco" / part
        (folder / "annotations.json").rename(folder.parent / f"annotations/instances_{part}.json")
        for image in (folder / "images").iterdir():
            image.rename(folder / image.name)
    data = read_objects("coco", MASKS, tmp_path)[0]
    assert (len(data.train), len(data.test)) == (4, 3)
    (tmp_path / "coco" / "val2017").rename(tmp_path / "coco" / "elsewhere")
    with pytest.raises(UserError, match="val2017: no such folder of images"):
        read_objects("coco", MASKS, tmp_path)


def test_annotation_files_that_are_not_named_for_it_have_to_be_chosen(squares: Path) -> None:
    (squares / "annotations.json").rename(squares / "mine.json")
    with pytest.raises(UserError, match=r"which of mine\.json is for training"):
        read(squares)
    chosen = Request("mine.json", "mine.json", "boxes", None)
    assert len(read(squares, chosen).train) == 6
    with pytest.raises(UserError, match=r"other\.json: no such annotation file"):
        read(squares, Request("other.json", "mine.json", "boxes", None))


def test_a_folder_of_something_else_is_an_error(tmp_path: Path) -> None:
    blank(tmp_path / "a.png")
    with pytest.raises(UserError, match="neither annotations"):
        read(tmp_path)
    with pytest.raises(UserError, match="get it from https://cocodataset"):
        read_objects("coco", BOXES, tmp_path)


def test_a_scheme_without_one_labelled_point_is_an_error(squares: Path) -> None:
    file = squares / "annotations.json"
    content = json.loads(file.read_text())
    for each in content["annotations"]:
        each["keypoints"] = [0] * 6
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="labelled keypoint"):
        read(squares, Request(None, None, "keypoints", None))
