from pathlib import Path

import numpy as np
import pytest
import torch

from representation.probe.images import IGNORED, open_labelled
from selfflow.io import write_image
from selfflow.runs.errors import UserError


def image(value: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def camvid(root: Path, splits: tuple[str, ...] = ("train", "val"), count: int = 3) -> Path:
    """Images of one grey each, whose label maps hold its number, 5, and 11 in the last row."""
    for split in splits:
        for number in range(count):
            write_image(root / split / f"{number}.png", image(10 * number))
            ids = np.full((12, 16), number, np.uint8)
            ids[:, :8], ids[-1] = 5, 11
            write_image(root / f"{split}annot" / f"{number}.png", ids)
    return root


def test_camvids_layout_gives_pixels_with_their_classes(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path)))
    assert found.dense
    assert found.classes == 11
    assert (len(found.train), len(found.test)) == (3, 3)
    labels = found.test[1].labels
    assert labels.shape == (12, 16)
    assert (labels[:-1, :8] == 5).all()
    assert (labels[:-1, 8:] == 1).all()
    assert (labels[-1] == IGNORED).all()
    assert torch.equal(found.test[1].image, torch.full((1, 3, 12, 16), 10 / 255))


def test_as_many_as_asked_for_are_spread_and_reduced(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path, count=9)), count=6, short_side=6)
    assert (len(found.train), len(found.test)) == (3, 3)
    assert [round(255 * each.image.mean().item()) for each in found.train] == [10, 40, 70]
    assert found.train[0].image.shape == (1, 3, 6, 8)
    assert found.train[0].labels.shape == (6, 8)
    assert set(found.train[0].labels.unique().tolist()) == {IGNORED, 1, 5}


def test_a_single_part_is_divided(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path, ("val",), 4)))
    values = [[round(255 * e.image.mean().item()) for e in p] for p in (found.train, found.test)]
    assert values == [[0, 10], [20, 30]]


@pytest.mark.parametrize("splits", [("",), ("train", "val")])
def test_folders_are_classes(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for value, name in enumerate(("cat", "dog")):
            for number in range(5):
                write_image(tmp_path / split / name / f"{number}.png", image(100 * value + number))
    found = open_labelled(str(tmp_path), count=4)
    assert not found.dense
    assert found.classes == 2
    for part in (found.train, found.test):
        assert [int(each.labels) for each in part] == [0, 1]
        assert [each.image.mean() > 0.3 for each in part] == [False, True]
    train, test = ({each.image.mean().item() for each in p} for p in (found.train, found.test))
    assert len(splits) == 2 or not train & test


def test_a_folder_of_images_beside_labels_will_do(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "images" / f"{number}.png", image(10 * number))
        write_image(tmp_path / "labels" / f"{number}.png", image(number)[..., 0])
    found = open_labelled(str(tmp_path))
    assert found.dense
    assert [each.labels.unique().tolist() for each in (*found.train, *found.test)] == [
        [0],
        [1],
        [2],
    ]
    assert (len(found.train), len(found.test), found.classes) == (2, 1, 3)


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data"):
        open_labelled(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="two images with label maps"):
        open_labelled(str(camvid(tmp_path / "one", ("train",), 1)))
    root = camvid(tmp_path / "broken")
    write_image(root / "trainannot" / "0.png", image(0))
    with pytest.raises(UserError, match=r"0\.png holds colours"):
        open_labelled(str(root))
    write_image(root / "trainannot" / "0.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"0\.png is 5x5, but its image"):
        open_labelled(str(root))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="at least two folders"):
        open_labelled(str(tmp_path / "empty"))
