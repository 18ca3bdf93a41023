from pathlib import Path

import numpy as np
import pytest
import scipy.io

from representation.readout.dense.depth_layouts import LAYOUTS as DEPTH
from representation.readout.dense.folders import folder_parts, read_folder, usual_parts
from representation.readout.dense.labels import LabelReader
from representation.readout.dense.layouts import CITYSCAPES, LAYOUTS, Segmented
from representation.readout.places import find_place
from selfflow.runs.errors import UserError


@pytest.fixture
def put(tmp_path: Path, write_image):
    """Writes images and label maps of one number each."""

    def put(name: str, number: int | None = None, root: str = "data") -> Path:
        shape = (2, 3, 3) if number is None else (2, 3)
        return write_image(tmp_path / root / name, np.full(shape, number or 0, np.uint8))

    return put


def opened(name: str, root: Path) -> Segmented:
    layout, folder = find_place(name, LAYOUTS, root)
    assert layout is not None
    return layout.read(folder)


def classes(data: Segmented, part: str) -> list[int]:
    read = LabelReader(data)
    return [int(read(example.label)[0, 0]) for example in data.parts[part]]


def test_camvid(put, tmp_path: Path) -> None:
    for part, number in (("train", 0), ("val", 11)):
        put(f"{part}/0001TP_006690.jpg", root="CamVid")
        put(f"{part}annot/0001TP_006690.png", number, root="CamVid")
    data = opened("camvid", tmp_path)
    assert len(data.classes) == 11
    assert data.parts["train"][0].name == "train/0001TP_006690"
    assert classes(data, "train") == [0]
    assert classes(data, "val") == [255]


@pytest.mark.parametrize(
    ("kind", "numbers"), [("labelIds", (7, 33, 4)), ("labelTrainIds", (0, 18, 255))]
)
def test_cityscapes(put, tmp_path: Path, kind: str, numbers: tuple[int, ...]) -> None:
    for number, value in enumerate(numbers):
        for part in ("train", "val"):
            name = f"{part}/aachen/aachen_{number:06d}_000019"
            put(f"leftImg8bit/{name}_leftImg8bit.png", root="cityscapes")
            put(f"gtFine/{name}_gtFine_{kind}.png", value, root="cityscapes")
    data = opened("cityscapes", tmp_path)
    assert data.classes[0] == "road"
    assert data.classes[18] == "bicycle"
    assert len(data.classes) == 19
    assert classes(data, "train") == classes(data, "val") == [0, 18, 255]


def test_cityscapes_numbers_are_those_of_its_scripts() -> None:
    assert [number for number, _ in CITYSCAPES.values()] == [
        7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "labels", "ending"),
    [
        ("images/10k", "labels/sem_seg/masks", ""),
        ("seg/images", "seg/labels", "_train_id"),
    ],
)
def test_bdd100k(put, tmp_path: Path, images: str, labels: str, ending: str) -> None:
    for part, value in (("train", 3), ("val", 255)):
        put(f"{images}/{part}/0004a4c0-d4dff0ad.jpg", root="bdd100k")
        put(f"{labels}/{part}/0004a4c0-d4dff0ad{ending}.png", value, root="bdd100k")
    data = opened("bdd100k", tmp_path)
    assert classes(data, "train") == [3]
    assert classes(data, "val") == [255]


def test_voc_with_the_extra_annotations(put, tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for number, name in enumerate(("2007_000032", "2007_000033", "2008_000002")):
        put(f"JPEGImages/{name}.jpg", root=str(root))
        if number < 2:
            put(f"SegmentationClass/{name}.png", number, root=str(root))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000033\n")
    data = opened("voc", tmp_path)
    assert len(data.classes) == 21
    assert data.train == "train"
    assert classes(data, "val") == [1]
    for name, number in (("2007_000032", 4), ("2007_000033", 5), ("2008_000002", 20)):
        put(f"SegmentationClassAug/{name}.png", number, root=str(root))
    data = opened("voc", tmp_path)
    assert data.train == "train_aug"
    assert classes(data, "train_aug") == [4, 20]
    (lists / "train_aug.txt").write_text(
        "/JPEGImages/2008_000002.jpg /SegmentationClassAug/2008_000002.png\n"
    )
    assert classes(opened("voc", tmp_path), "train_aug") == [20]
    (lists / "val.txt").write_text("2007_000099\n")
    with pytest.raises(UserError, match=r"2007_000099\.jpg is listed, but is not there"):
        opened("voc", tmp_path)


@pytest.mark.parametrize("nested", ["{part}/{kind}", "{kind}/{part}"])
def test_a_folder_of_images_and_labels(put, tmp_path: Path, nested: str) -> None:
    for part, value in (("train", 2), ("val", 1)):
        put(nested.format(part=part, kind="images") + "/a.jpg")
        put(nested.format(part=part, kind="labels") + "/a.png", value)
    data = read_folder(tmp_path / "data")
    assert data.classes == ("0", "1", "2")
    assert (data.train, data.test) == ("train", "val")
    assert classes(data, "train") == [2]
    (tmp_path / "data" / "classes.txt").write_text("sky\nroad\ntree\n\n")
    assert read_folder(tmp_path / "data").classes == ("sky", "road", "tree")
    with pytest.raises(UserError, match="names 3 classes, not 5"):
        read_folder(tmp_path / "data", classes=5)


def test_a_folder_without_parts_is_one(put, tmp_path: Path) -> None:
    for name in "ab":
        put(f"images/{name}.jpg")
        put(f"labels/{name}.png", 1)
    parts = folder_parts(tmp_path / "data")
    assert {name: len(part) for name, part in parts.items()} == {"all": 2}
    assert usual_parts(parts) == ("all", "all")


def test_a_folder_of_something_else_is_an_error(put, tmp_path: Path) -> None:
    put("pictures/a.jpg")
    with pytest.raises(UserError, match="no folder images/ beside a folder labels/"):
        read_folder(tmp_path / "data")


def test_nyu_from_its_mat_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    root = tmp_path / "nyu_depth_v2"
    root.mkdir()
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.zeros((4, 3, 6, 5), np.uint8)
        file["depths"] = np.ones((4, 6, 5), np.float32)
    layout, folder = find_place(str(root), DEPTH)
    assert layout is not None
    with pytest.raises(UserError, match=r"splits\.mat is not there"):
        layout.read(folder)
    splits = {"trainNdxs": np.array([[1], [4]]), "testNdxs": np.array([[3]])}
    scipy.io.savemat(root / "splits.mat", splits)
    parts = layout.read(folder)
    assert [example.name for example in parts["train"]] == ["0001", "0004"]
    assert parts["test"][0].image.index == 2  # type: ignore[union-attr]
    assert parts["test"][0].label.dataset == "depths"  # type: ignore[union-attr]
    scipy.io.savemat(root / "splits.mat", {**splits, "testNdxs": np.array([[5]])})
    with pytest.raises(UserError, match="testNdxs are not all from 1 to 4"):
        layout.read(folder)


def test_nyu_as_images(put, tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(f"official_splits/{part}/kitchen/rgb_00012.jpg", root="nyu")
        put(f"official_splits/{part}/kitchen/sync_depth_00012.png", 9, root="nyu")
    layout, folder = find_place("nyu", DEPTH, tmp_path)
    assert layout is not None
    parts = layout.read(folder)
    assert parts["test"][0].name == "official_splits/test/kitchen/rgb_00012"
    put("official_splits/test/kitchen/rgb_00013.jpg", root="nyu")
    with pytest.raises(UserError, match=r"there is no sync_depth_00013\.png"):
        layout.read(folder)
