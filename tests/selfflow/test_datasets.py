"""Datasets in their own layouts, read as torchvision reads them."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torchvision import datasets as torchvision_datasets

from selfflow.datasets import data_root, find_dataset, labelled_pairs
from selfflow.io import Bytes, Float, write_flo, write_image, write_kitti_png
from selfflow.runs.errors import UserError
from selfflow.video import open_target

RNG = np.random.default_rng(0)
H, W = 12, 20


def image() -> Bytes:
    return RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)


def flow() -> Float:
    return RNG.normal(0, 3, (H, W, 2)).astype(np.float32)


def sintel(root: Path) -> Path:
    for scene in ("alley_1", "cave_2"):
        for number in (1, 2, 3):
            for part in ("clean", "final"):
                name = f"training/{part}/{scene}/frame_{number:04d}.png"
                write_image(root / name, image())
            if number < 3:
                write_flo(root / f"training/flow/{scene}/frame_{number:04d}.flo", flow())
                for mask in ("occlusions", "invalid"):
                    spots = (RNG.random((H, W)) < 0.2).astype(np.uint8) * 255
                    write_image(root / f"training/{mask}/{scene}/frame_{number:04d}.png", spots)
    return root


def kitti(root: Path) -> Path:
    for number in range(3):
        for frame in (10, 11):
            write_image(root / f"training/image_2/{number:06d}_{frame}.png", image())
        known = RNG.random((H, W)) < 0.5
        seen = known & (RNG.random((H, W)) < 0.7)
        values = flow()
        write_kitti_png(root / f"training/flow_occ/{number:06d}_10.png", values, known)
        write_kitti_png(root / f"training/flow_noc/{number:06d}_10.png", values, seen)
        objects = RNG.integers(0, 3, (H, W), dtype=np.uint8)
        write_image(root / f"training/obj_map/{number:06d}_10.png", objects)
    return root


def chairs(root: Path, split: str | None = "1\n2\n1\n") -> Path:
    for number in (1, 2, 3):
        write_image(root / f"data/{number:05d}_img1.ppm", image())
        write_image(root / f"data/{number:05d}_img2.ppm", image())
        write_flo(root / f"data/{number:05d}_flow.flo", flow())
    if split:
        (root / "FlyingChairs_train_val.txt").write_text(split)
    return root


def assert_same(ours: torch.Tensor | None, theirs: np.ndarray, scale: float = 1) -> None:
    assert ours is not None
    np.testing.assert_allclose(ours[0].numpy(), theirs / scale, atol=1e-6)


def chw(picture: object) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1)


def test_sintel_agrees_with_torchvision(tmp_path: Path) -> None:
    sintel(tmp_path / "Sintel")
    pairs = labelled_pairs("sintel", tmp_path)
    assert len(pairs) == 8
    assert {pair.part for pair in pairs} == {"clean", "final"}
    assert pairs[0].name == "clean/alley_1/frame_0001"
    for part in ("clean", "final"):
        theirs = torchvision_datasets.Sintel(str(tmp_path), split="train", pass_name=part)
        # theirs come in whatever order the file system gives scenes
        by_image = {np.asarray(first).tobytes(): (first, second, label) for first, second, label
                    in (theirs[index] for index in range(len(theirs)))}  # fmt: skip
        assert len(by_image) == 4
        for pair in (pair for pair in pairs if pair.part == part):
            loaded = pair.load()
            content = (loaded.image1[0] * 255).round().byte().permute(1, 2, 0).numpy().tobytes()
            first, second, label = by_image[content]
            assert_same(loaded.image1, chw(first), 255)
            assert_same(loaded.image2, chw(second), 255)
            assert loaded.valid is not None
            assert_same(loaded.flow, np.where(loaded.valid[0].numpy(), label, label))


def test_sintel_masks(tmp_path: Path) -> None:
    root = sintel(tmp_path / "MPI-Sintel-complete")
    place = "training/{}/alley_1/frame_0001.png"
    still = np.zeros((H, W, 2), np.float32)
    still[0, 0] = (-1, 0)  # leaves the frame
    write_flo(root / "training/flow/alley_1/frame_0001.flo", still)
    for mask, spot in (("occlusions", (2, 3)), ("invalid", (4, 5))):
        white = np.zeros((H, W), np.uint8)
        white[spot] = 255
        write_image(root / place.format(mask), white)
    loaded = labelled_pairs("sintel", tmp_path)[0].load()
    assert loaded.visible is not None
    assert loaded.valid is not None
    assert (~loaded.visible).nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 2, 3]]
    assert (~loaded.valid).nonzero().tolist() == [[0, 0, 4, 5]]


def test_kitti_agrees_with_torchvision(tmp_path: Path) -> None:
    kitti(tmp_path / "KittiFlow")
    theirs = torchvision_datasets.KittiFlow(str(tmp_path), split="train")
    pairs = labelled_pairs("kitti", tmp_path)
    assert [pair.name for pair in pairs] == [f"{n:06d}_10/{n:06d}_10" for n in range(3)]
    for pair, (first, second, label, valid) in zip(pairs, theirs, strict=True):
        loaded = pair.load()
        assert_same(loaded.image1, chw(first), 255)
        assert_same(loaded.image2, chw(second), 255)
        assert_same(loaded.valid, valid[None])
        assert_same(loaded.flow, label * valid)
        assert loaded.visible is not None
        assert loaded.valid is not None
        assert 0 < loaded.visible.sum() < loaded.valid.sum()
        assert not (loaded.visible & ~loaded.valid).any()
        objects = cv2.imread(str(tmp_path / f"KittiFlow/training/obj_map/{pair.name[:9]}.png"), -1)
        assert_same(loaded.foreground, (objects > 0)[None])


def test_kitti_2012_without_noc_and_multiview(tmp_path: Path) -> None:
    root = kitti(tmp_path / "kitti")
    (root / "training/image_2").rename(root / "training/colored_0")
    for kind in ("flow_noc", "obj_map"):
        for path in (root / "training" / kind).iterdir():
            path.unlink()
    loaded = labelled_pairs("kitti", tmp_path)[0].load()
    assert loaded.visible is loaded.foreground is None
    for frame in (8, 9, 12):
        write_image(root / f"training/colored_0/000001_{frame:02d}.png", image())
    sequences = open_target("kitti", tmp_path).sequences
    assert [len(sequence) for sequence in sequences] == [2, 5, 2]
    assert list(sequences[1].labelled) == [2]


def test_chairs_agree_with_torchvision_and_keep_their_split(tmp_path: Path) -> None:
    chairs(tmp_path / "FlyingChairs")
    theirs = torchvision_datasets.FlyingChairs(str(tmp_path), split="val")
    (pair,) = labelled_pairs("chairs", tmp_path)
    first, second, label = theirs[0]
    loaded = pair.load()
    assert pair.part == "val"
    assert_same(loaded.image1, chw(first), 255)
    assert_same(loaded.image2, chw(second), 255)
    assert_same(loaded.flow, label)


def test_chairs_without_split_are_all_evaluated(tmp_path: Path) -> None:
    chairs(tmp_path / "FlyingChairs_release", split=None)
    assert len(labelled_pairs(str(tmp_path / "FlyingChairs_release"))) == 3


def test_a_wrong_split_is_named(tmp_path: Path) -> None:
    chairs(tmp_path / "FlyingChairs", split="1\n2\n")
    with pytest.raises(UserError, match=r"FlyingChairs_train_val.txt.*3 pairs"):
        labelled_pairs("chairs", tmp_path)


def test_middlebury_knows_what_is_unknown(tmp_path: Path) -> None:
    root = tmp_path / "Middlebury"
    values = flow()
    values[3, 4] = 1.7e9
    for number in (10, 11):
        write_image(root / f"other-data/Urban2/frame{number}.png", image())
        write_image(root / f"other-data/Beanbags/frame{number}.png", image())
    write_flo(root / "other-gt-flow/Urban2/flow10.flo", values)
    (pair,) = labelled_pairs("middlebury", tmp_path)
    loaded = pair.load()
    assert loaded.valid is not None
    assert (~loaded.valid).nonzero().tolist() == [[0, 0, 3, 4]]
    assert loaded.flow is not None
    assert loaded.flow.abs().max() < 100
    assert loaded.visible is None


@pytest.mark.parametrize("inside", ["", "static_40k_png_1_of_4"])
def test_autoflow(tmp_path: Path, inside: str) -> None:
    folder = tmp_path / "autoflow" / inside / "table_3_batch_7"
    values = flow()
    write_image(folder / "im0.png", image())
    write_image(folder / "im1.png", image())
    write_flo(folder / "forward.flo", values)
    for name in ("autoflow", str(tmp_path / "autoflow")):
        (pair,) = labelled_pairs(name, tmp_path)
        assert_same(pair.load().flow, values.transpose(2, 0, 1))


def test_a_label_of_another_size_is_named(tmp_path: Path) -> None:
    chairs(tmp_path / "FlyingChairs", split=None)
    write_flo(tmp_path / "FlyingChairs/data/00001_flow.flo", np.zeros((3, 3, 2), np.float32))
    with pytest.raises(UserError, match=r"00001.*3x3.*20x12"):
        labelled_pairs("chairs", tmp_path)[0].load()


def test_sample_is_labelled() -> None:
    pairs = labelled_pairs("sample")
    assert len(pairs) == 46
    loaded = pairs[0].load()
    assert loaded.flow is not None
    assert loaded.visible is not None


@pytest.mark.parametrize(
    "folder", ["Sintel", "sintel", "MPI-Sintel", "MPI_Sintel", "Sintel/MPI-Sintel-complete", "."]
)
def test_folders_are_found_in_any_spelling(tmp_path: Path, folder: str) -> None:
    sintel(tmp_path / folder)
    assert find_dataset("sintel", tmp_path)[1].samefile(tmp_path / folder)


def test_the_data_root_is_the_option_then_the_variable_then_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFFLOW_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "option")[0] == tmp_path / "option"
    assert data_root(None)[0] == tmp_path / "variable"
    monkeypatch.delenv("SELFFLOW_DATA")
    assert data_root(None)[0] == Path("data")


def test_a_missing_dataset_says_what_where_and_whence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SELFFLOW_DATA", raising=False)
    with pytest.raises(UserError) as error:
        open_target("davis")
    for part in ("davis", "JPEGImages/480p", " data ", "davischallenge.org", "--data-root"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("SELFFLOW_DATA", "elsewhere")
    with pytest.raises(UserError, match=r"\$SELFFLOW_DATA"):
        labelled_pairs("sintel")


def test_what_has_no_labels_is_said(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_frames(tmp_path / "DAVIS/JPEGImages/480p/bus", films.film(0, 3))
    with pytest.raises(UserError, match="no pair of frames with known flow"):
        labelled_pairs("davis", tmp_path)
    for name in ("nonsense", str(tmp_path)):
        with pytest.raises(UserError, match=r"sintel, kitti"):
            labelled_pairs(name if name == "nonsense" else str(tmp_path / "DAVIS/JPEGImages"))
