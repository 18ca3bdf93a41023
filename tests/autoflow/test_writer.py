from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import FlyingChairs

from autoflow.hyperparameters import Hyperparameters
from autoflow.render import render
from autoflow.writer import LAYOUTS, write_set
from selfflow.datasets import labelled_pairs
from selfflow.io import read_flo, read_image, read_kitti_png
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError

SIZE = (32, 48)
SETS = [Hyperparameters()]


def write(out: Path, layout: str = "chairs", count: int = 5, **changes: object) -> int:
    arguments = {"count": count, "size": SIZE, "seed": 3, "layout": layout, "out": out}
    return write_set(changes.pop("sets", SETS), **{**arguments, **changes})


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_torchvision_reads_what_was_rendered(tmp_path: Path) -> None:
    write(tmp_path / "set")
    dataset = FlyingChairs(tmp_path / "set", split="train")
    assert len(dataset) == 5
    sample = render(SETS[0], 3, torch.arange(5), size=SIZE).pairs()
    for number in range(5):
        image1, image2, flow = dataset[number]
        for image, expected in ((image1, sample.image1), (image2, sample.image2)):
            expected = expected[number].permute(1, 2, 0).numpy()
            assert np.abs(np.asarray(image) / 255 - expected).max() < 0.51 / 255
        np.testing.assert_array_equal(flow, sample.flow[number].numpy())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_interrupted_set_is_finished_with_the_same_files(tmp_path: Path, layout: str) -> None:
    write(tmp_path / "whole", layout)
    whole = contents(tmp_path / "whole")
    write(tmp_path / "cut", layout)
    lost = sorted(name for name in whole if name != "render.json")[3::4]
    for name in lost:
        (tmp_path / "cut" / name).unlink()
    assert 0 < write(tmp_path / "cut", layout) < 5
    assert contents(tmp_path / "cut") == whole
    assert write(tmp_path / "cut", layout) == 0


def test_a_set_that_grows_keeps_its_files(tmp_path: Path) -> None:
    write(tmp_path, count=3)
    before = contents(tmp_path)
    write(tmp_path, count=6)
    after = contents(tmp_path)
    split = "FlyingChairs/FlyingChairs_train_val.txt"
    assert all(after[name] == before[name] for name in before if name != split)
    assert len(after[split].split()) == 6


def test_autoflow_layout_has_the_published_names(tmp_path: Path) -> None:
    write(tmp_path, "autoflow", count=1)
    names = {"im0.png", "im1.png", "forward.flo"}
    assert {p.name for p in (tmp_path / "table_0_batch_0").iterdir()} == names
    assert read_flo(tmp_path / "table_0_batch_0" / "forward.flo").shape == (*SIZE, 2)


def test_kitti_layout_tells_what_is_visible(tmp_path: Path) -> None:
    write(tmp_path, "kitti", count=1)
    pairs = render(SETS[0], 3, torch.arange(1), size=SIZE).pairs()
    flow, valid = read_kitti_png(tmp_path / "training" / "flow_occ" / "000000_10.png")
    _, seen = read_kitti_png(tmp_path / "training" / "flow_noc" / "000000_10.png")
    assert np.abs(flow - pairs.flow[0].permute(1, 2, 0).numpy())[valid].max() <= 1 / 128 + 1e-4
    np.testing.assert_array_equal(valid, pairs.valid[0, 0].numpy())
    np.testing.assert_array_equal(seen, (pairs.valid & pairs.visible)[0, 0].numpy())
    assert read_image(tmp_path / "training" / "image_2" / "000000_11.png").shape == (*SIZE, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_our_own_reader_takes_every_layout(tmp_path: Path, layout: str) -> None:
    write(tmp_path, layout, count=2)
    folder = tmp_path / "FlyingChairs" if layout == "chairs" else tmp_path
    pairs = labelled_pairs(str(folder)) if layout != "chairs" else []
    assert len(pairs) == (0 if layout == "chairs" else 2)


def test_another_set_in_the_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "set", count=1)
    before = contents(tmp_path / "set")
    other = [replace_values(SETS[0], {"effects.fog": 1.0})]
    for changes in ({"seed": 4}, {"size": (48, 48)}, {"sets": other}, {"layout": "kitti"}):
        with pytest.raises(UserError, match="holds another set"):
            write(tmp_path / "set", **changes)
    assert contents(tmp_path / "set") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        write(tmp_path / "mine")


def test_mixed_sets_are_mixed(tmp_path: Path) -> None:
    still = {
        f"{g}.{n}": 0.0
        for g in ("background", "foreground")
        for n in (
            "translation",
            "rotation",
            "scale",
            "shear",
            "perspective",
            "deformation",
            "acceleration",
        )
    }
    sets = [SETS[0], replace_values(SETS[0], still)]
    write(tmp_path, "autoflow", count=12, sets=sets)
    moving = [np.abs(read_flo(p)).max() > 1e-3 for p in tmp_path.rglob("forward.flo")]
    assert 0 < sum(moving) < 12
