from pathlib import Path

import pytest

from representation.readout.class_folders import read_class_folders
from selfflow.runs.errors import UserError


def make(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:02d}.jpg").touch()


@pytest.mark.parametrize(("train", "test"), [("train", "val"), ("training", "test")])
def test_folders_for_both_sides_are_taken_as_they_are(tmp_path: Path, train: str, test: str):
    for side, count in ((train, 3), (test, 2)):
        for name in ("dog", "cat"):
            make(tmp_path / side / name, count)
    data = read_class_folders(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.train.labels == (0, 0, 0, 1, 1, 1)
    assert data.test.labels == (0, 0, 1, 1)
    assert {path.parent.name for path in data.test.paths[:2]} == {"cat"}
    assert data.test.paths[0].parent.parent.name == test


def test_of_classes_alone_every_fifth_image_is_tested_on(tmp_path: Path):
    make(tmp_path / "cat", 11)
    make(tmp_path / "dog", 5)
    data = read_class_folders(tmp_path)
    assert [path.stem for path in data.test.paths] == ["04", "09", "04"]
    assert len(data.train) == 9 + 4
    assert not set(data.train.paths) & set(data.test.paths)


def test_what_cannot_be_a_data_set_is_one_line(tmp_path: Path):
    make(tmp_path / "one" / "cat", 9)
    with pytest.raises(UserError, match="at least two folders"):
        read_class_folders(tmp_path / "one")
    make(tmp_path / "one" / "dog", 4)
    with pytest.raises(UserError, match="dog: too few images"):
        read_class_folders(tmp_path / "one")
    for side in ("train", "val"):
        make(tmp_path / "two" / side / "cat", 1)
    make(tmp_path / "two" / "train" / "dog", 1)
    make(tmp_path / "two" / "val" / "cow", 0)
    with pytest.raises(UserError, match="differ in their classes: cow, dog"):
        read_class_folders(tmp_path / "two")
    make(tmp_path / "two" / "train" / "cow", 1)
    make(tmp_path / "two" / "val" / "dog", 1)
    with pytest.raises(UserError, match="cow: no image of this class"):
        read_class_folders(tmp_path / "two")
