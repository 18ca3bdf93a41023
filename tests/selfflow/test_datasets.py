"""Datasets in their own layouts, read as torchvision reads them."""

import shutil
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torchvision import datasets as torchvision_datasets

from selfflow.datasets import data_root, find_dataset, labelled_pairs
from selfflow.io import Bytes, Float, read_image, write_flo, write_image, write_kitti_png
from selfflow.runs.errors import UserError
from selfflow.sequences import Excerpt, FlowLabel, ImageSequence
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
    root = kitti(tmp_path / "KITTI" / "2012")
    (root / "training/image_2").rename(root / "training/colored_0")
    for kind in ("flow_noc", "obj_map"):
        for path in (root / "training" / kind).iterdir():
            path.unlink()
    kitti(tmp_path / "KITTI" / "2015")
    loaded = labelled_pairs("kitti2012", tmp_path)[0].load()
    assert loaded.visible is loaded.foreground is None
    for frame in (8, 9, 12):
        write_image(root / f"training/colored_0/000001_{frame:02d}.png", image())
    assert labelled_pairs("kitti", tmp_path)[0].load().foreground is not None
    sequences = open_target("kitti2012", tmp_path).sequences
    assert [len(sequence) for sequence in sequences] == [2, 5, 2]
    assert list(sequences[1].labelled) == [2]


def test_frames_near_kittis_labels_can_be_left_out(tmp_path: Path) -> None:
    root = kitti(tmp_path / "KITTI")
    for frame in (*range(10), *range(12, 21)):
        write_image(root / f"training/image_2/000001_{frame:02d}.png", image())
    whole = open_target("kitti", tmp_path)["000001_00"]
    assert len(whole) == 21
    for margin, spans in ((1, ((0, 9), (13, 21))), (0, ((0, 10), (12, 21)))):
        target = open_target("kitti", tmp_path, margin)
        assert not target.has_ground_truth
        for sequence, (start, stop) in zip(target.sequences, spans, strict=True):
            assert sequence.name == f"000001_00/000001_{start:02d}"
            names = [sequence.frame_name(index) for index in range(len(sequence))]
            assert names == [f"000001_{frame:02d}" for frame in range(start, stop)]
            assert (sequence.size, sequence.frame_rate) == (whole.size, 10)
            assert (sequence.frame(0) == whole.frame(start)).all()
            assert (sequence.frame(len(sequence) - 1) == whole.frame(stop - 1)).all()
            for outside in (-1, len(sequence)):
                with pytest.raises(IndexError):
                    sequence.frame(outside)
    with pytest.raises(UserError, match="9 frames beside each; --set label_margin= takes them all"):
        open_target("kitti", tmp_path, 9)  # which leaves frame 00 alone


def test_video_without_labels_is_taken_whole(tmp_path: Path) -> None:
    for frame in range(4):
        write_image(tmp_path / f"film/{frame}.png", image())
    assert [len(each) for each in open_target(str(tmp_path / "film"), None, 1).sequences] == [4]


def test_an_excerpt_knows_the_labels_within_it(tmp_path: Path) -> None:
    for frame in range(6):
        write_image(tmp_path / f"{frame}.png", image())
    labels = {
        index: FlowLabel(np.full((H, W, 2), index, np.float32), np.ones((H, W), bool), None)
        for index in (0, 2, 4)
    }
    readers = {index: partial(labels.get, index) for index in labels}
    excerpt = Excerpt(ImageSequence("film", sorted(tmp_path.iterdir()), readers), 1, 5)
    assert list(excerpt.labelled) == [1]
    assert excerpt.flow(1) is labels[2]
    assert excerpt.flow(3) is None  # it leads out of the excerpt
    assert excerpt.flow(-1) is None


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


def pfm(path: Path, values: Float) -> Float:
    """Write flow as FlyingThings3D does: three channels, the last one empty, rows bottom-up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    full = np.concatenate((values, np.zeros((H, W, 1), np.float32)), 2)
    path.write_bytes(f"PF\n{W} {H}\n-1.0\n".encode() + full[::-1].astype("<f4").tobytes())
    return values


def things(root: Path) -> dict[str, Float]:
    flows = {}
    for split, scene in (("TRAIN", "A/0000"), ("TRAIN", "C/0003"), ("TEST", "B/0001")):
        for camera in ("left", "right"):
            for number in (6, 7, 8):
                for kind in ("clean", "final"):
                    path = f"frames_{kind}pass/{split}/{scene}/{camera}/{number:04d}.png"
                    write_image(root / path, image())
                for direction in ("Future", "Past"):
                    name = f"OpticalFlowInto{direction}_{number:04d}_{camera[0].upper()}.pfm"
                    place = f"{split}/{scene}/into_{direction.lower()}/{camera}/{name}"
                    flows[f"{scene} {camera} {direction} {number}"] = pfm(
                        root / "optical_flow" / place, flow()
                    )
    return flows


def test_things_agree_with_torchvision(tmp_path: Path) -> None:
    things(tmp_path / "FlyingThings3D")
    for kind, direction in product(("clean", "final"), ("future", "past")):
        theirs = torchvision_datasets.FlyingThings3D(
            str(tmp_path), split="train", pass_name=kind, camera="left"
        )
        # theirs hold both directions; of each scene, two pairs forward, then two backward
        part = kind if direction == "future" else f"{kind}-past"
        ours = [pair.load() for pair in labelled_pairs("things", tmp_path, [part])]
        assert len(ours) == 4
        found = 0
        for first, second, label in (theirs[index] for index in range(len(theirs))):
            for pair in ours:
                assert pair.flow is not None
                if np.array_equal(pair.flow[0].numpy(), label):
                    assert_same(pair.image1, chw(first), 255)
                    assert_same(pair.image2, chw(second), 255)
                    found += 1
        assert found == 4


def test_things_flow_into_the_past_leads_to_the_frame_before(tmp_path: Path) -> None:
    root = tmp_path / "FlyingThings3D"
    flows = things(root)
    pairs = labelled_pairs("things", tmp_path, ["clean-right-past"])
    assert [pair.name for pair in pairs][:2] == [
        f"clean-right-past/A/0000/{number}" for number in ("0008", "0007")
    ]
    loaded = pairs[0].load()
    frames = root / "frames_cleanpass/TRAIN/A/0000/right"
    assert_same(loaded.image1, chw(read_image(frames / "0008.png")), 255)
    assert_same(loaded.image2, chw(read_image(frames / "0007.png")), 255)
    assert_same(loaded.flow, flows["A/0000 right Past 8"].transpose(2, 0, 1))


def test_things_parts(tmp_path: Path) -> None:
    things(tmp_path / "FlyingThings3D")
    assert {p.part for p in labelled_pairs("things", tmp_path)} == {"test-clean", "test-final"}
    learned = labelled_pairs("things", tmp_path, training=True)
    assert {p.part for p in learned} == {"clean", "clean-past", "final", "final-past"}
    assert len(learned) == 16
    with pytest.raises(UserError, match=r"no part train; it has clean, clean-past, clean-right"):
        labelled_pairs("things", tmp_path, ["train"])
    shutil.rmtree(tmp_path / "FlyingThings3D/frames_finalpass")
    with pytest.raises(UserError, match="no part final"):
        labelled_pairs("things", tmp_path, ["final"])


def test_hd1k(tmp_path: Path) -> None:
    root = tmp_path / "hd1k_full_package"
    for sequence, frame in ((0, 10), (0, 20), (0, 30), (1, 10), (1, 20)):
        name = f"{sequence:06d}_{frame:04d}.png"
        write_image(root / "hd1k_input/image_2" / name, image())
        known = RNG.random((H, W)) < 0.5
        write_kitti_png(root / "hd1k_flow_gt/flow_occ" / name, flow(), known)
    pairs = labelled_pairs("hd1k", tmp_path)
    assert [pair.name for pair in pairs] == [
        f"{run}/{name}"
        for run, name in (
            ("000000_0010", "000000_0010"),
            ("000000_0010", "000000_0020"),
            ("000001_0010", "000001_0010"),
        )
    ]
    theirs = torchvision_datasets._optical_flow._read_16bits_png_with_flow_and_valid_mask
    for pair in pairs:
        name = f"{pair.name.rpartition('/')[2]}.png"
        values, known = theirs(str(root / "hd1k_flow_gt/flow_occ" / name))
        loaded = pair.load()
        assert_same(loaded.image1, chw(read_image(root / "hd1k_input/image_2" / name)), 255)
        assert_same(loaded.valid, known[None])
        assert_same(loaded.flow, values * known)


def test_spring_takes_every_other_pixel_of_its_flow(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    root = tmp_path / "spring/train/0002"
    flows = {}
    for number, way in product((1, 2, 3), ("FW", "BW")):
        write_image(root / f"frame_left/frame_left_{number:04d}.png", image())
        values = RNG.normal(0, 3, (2 * H, 2 * W, 2)).astype(np.float32)
        values[4, 6] = np.nan
        flows[f"{way} {number}"] = values
        path = root / f"flow_{way}_left/flow_{way}_left_{number:04d}.flo5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("flow", data=values, compression="gzip")
    forward = labelled_pairs("spring", tmp_path)
    assert [pair.name for pair in forward] == [f"left/0002/frame_left_000{k}" for k in (1, 2)]
    backward = labelled_pairs("spring", tmp_path, ["left-past"])
    for pair, way, start, end in ((forward[1], "FW", 2, 3), (backward[0], "BW", 3, 2)):
        loaded = pair.load()
        for picture, number in ((loaded.image1, start), (loaded.image2, end)):
            file = root / f"frame_left/frame_left_{number:04d}.png"
            assert_same(picture, chw(read_image(file)), 255)
        expected = np.nan_to_num(flows[f"{way} {start}"][::2, ::2].transpose(2, 0, 1))
        assert_same(loaded.flow, expected)
        assert loaded.valid is not None
        assert (~loaded.valid).nonzero().tolist() == [[0, 0, 2, 3]]


def test_chairs2(tmp_path: Path) -> None:
    values = {part: flow() for part in ("train", "val")}
    for part, label in values.items():
        for k in (0, 1):
            write_image(tmp_path / f"FlyingChairs2/{part}/0000007-img_{k}.png", image())
        write_flo(tmp_path / f"FlyingChairs2/{part}/0000007-flow_01.flo", label)
    for training, part in ((True, "train"), (False, "val")):
        (pair,) = labelled_pairs("chairs2", tmp_path, training=training)
        assert_same(pair.load().flow, values[part].transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".flo", ".pfm"])
def test_any_folder_with_flow_beside_its_frames(tmp_path: Path, suffix: str) -> None:
    write = write_flo if suffix == ".flo" else pfm
    labels = {}
    for scene, number in product(("a", "b/c"), (8, 9, 10)):
        write_image(tmp_path / scene / f"f{number}.png", image())
        if number != 9:  # frame 10 is the last one; its flow leads nowhere
            labels[scene] = flow() if number == 8 else labels[scene]
            write(tmp_path / scene / f"f{number}{suffix}", labels[scene])
    pairs = labelled_pairs(str(tmp_path))
    assert [pair.name for pair in pairs] == ["a/f8", "b/c/f8"]
    for pair, scene in zip(pairs, labels, strict=True):
        loaded = pair.load()
        assert_same(loaded.image2, chw(read_image(tmp_path / scene / "f9.png")), 255)
        assert_same(loaded.flow, labels[scene].transpose(2, 0, 1))


def test_any_folder_of_frames_beside_a_folder_of_flow(tmp_path: Path) -> None:
    for number in (1, 2):
        write_image(tmp_path / f"frames/x/{number}.jpg", image())
    known = RNG.random((H, W)) < 0.5
    write_kitti_png(tmp_path / "flow/x/1.png", flow(), known)
    (pair,) = labelled_pairs(str(tmp_path))
    assert pair.name == "x/1"
    assert_same(pair.load().valid, known[None])


def test_parts_can_be_chosen(tmp_path: Path) -> None:
    sintel(tmp_path / "Sintel")
    assert {pair.part for pair in labelled_pairs("sintel", tmp_path, ["clean"])} == {"clean"}
    chairs(tmp_path / "FlyingChairs")
    assert len(labelled_pairs("chairs", tmp_path, training=True)) == 2
    (tmp_path / "FlyingChairs/FlyingChairs_train_val.txt").unlink()
    with pytest.raises(UserError, match="no pair of frames with known flow in train of its parts"):
        labelled_pairs("chairs", tmp_path, training=True)
    kitti(tmp_path / "kitti")
    for name in ("kitti", "sample"):
        with pytest.raises(UserError, match="no part clean; it has no parts"):
            labelled_pairs(name, tmp_path, ["clean"])


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
        with pytest.raises(UserError, match=r"sintel, kitti.*flow"):
            labelled_pairs(name if name == "nonsense" else str(tmp_path / "DAVIS/JPEGImages"))
