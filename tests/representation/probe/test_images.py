from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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


def test_camvids_layout_gives_pixels_with_the_ids_that_occur(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path)), ignore=(11,))
    assert found.dense
    assert found.classes == 4  # 0, 1, 2 and 5
    assert (len(found.train), len(found.test)) == (3, 3)
    labels = found.test[1].labels
    assert labels.shape == (12, 16)
    assert (labels[:-1, :8] == 3).all()
    assert (labels[:-1, 8:] == 1).all()
    assert (labels[-1] == IGNORED).all()
    assert torch.equal(found.test[1].image, torch.full((1, 3, 12, 16), 10 / 255))


def test_as_many_as_asked_for_are_spread_and_reduced(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path, count=9)), count=6, short_side=6, ignore=(11,))
    assert (len(found.train), len(found.test)) == (3, 3)
    assert [round(255 * each.image.mean().item()) for each in found.train] == [10, 40, 70]
    assert found.train[0].image.shape == (1, 3, 6, 8)
    assert found.train[0].labels.shape == (6, 8)
    assert set(found.train[0].labels.unique().tolist()) == {IGNORED, 0, 2}


def test_a_single_part_is_divided(tmp_path: Path) -> None:
    found = open_labelled(str(camvid(tmp_path, ("val",), 4)), ignore=(11,))
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


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty" / "trainannot").mkdir(parents=True)
    with pytest.raises(UserError, match="no two images with label maps"):
        open_labelled(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="no labelled images"):
        open_labelled(str(tmp_path / "nowhere"))
    root = camvid(tmp_path / "size")
    write_image(root / "trainannot" / "0.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"0\.png: the label map is 5x5, its image 16x12"):
        open_labelled(str(root))
    write_image(root / "trainannot" / "0.png", image(0))
    with pytest.raises(UserError, match=r"0\.png: a label map has one channel"):
        open_labelled(str(root))
    (root / "trainannot" / "0.png").write_text("nothing")
    with pytest.raises(UserError, match=r"0\.png: not an image"):
        open_labelled(str(root))
    root = camvid(tmp_path / "same")
    with pytest.raises(UserError, match="all the same"):
        open_labelled(str(root), ignore=(0, 1, 2, 11))


def test_ids_of_a_palette_are_ids(tmp_path: Path) -> None:
    root = camvid(tmp_path)
    ids = Image.fromarray(np.full((12, 16), 7, np.uint8))
    ids.putpalette([255, 0, 0] * 256)
    ids.save(root / "trainannot" / "0.png")
    found = open_labelled(str(root), ignore=(11,))
    assert found.classes == 5  # 0, 1, 2, 5 and 7
    assert (found.train[0].labels == 4).all()
