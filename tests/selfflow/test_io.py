"""Files of images and flow: what is written is read, by others too; what is broken is named."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from torchvision.datasets import _optical_flow as torchvision_readers

from selfflow import io
from selfflow.runs.errors import UserError

RNG = np.random.default_rng(0)
FLOW = RNG.normal(0, 30, (7, 11, 2)).astype(np.float32)


def test_flo_round_trip_and_torchvision_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    io.write_flo(path, FLOW)
    np.testing.assert_array_equal(io.read_flo(path), FLOW)
    theirs = torchvision_readers._read_flo(str(path))
    np.testing.assert_array_equal(theirs.transpose(1, 2, 0), FLOW)


def test_kitti_round_trip_is_exact_to_a_128th_and_torchvision_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    valid = RNG.random((7, 11)) > 0.3
    io.write_kitti_png(path, FLOW, valid)
    flow, known = io.read_kitti_png(path)
    np.testing.assert_array_equal(known, valid)
    assert np.abs(flow - FLOW)[valid].max() <= 1 / 128
    assert not flow[~valid].any()
    theirs, their_valid = torchvision_readers._read_16bits_png_with_flow_and_valid_mask(str(path))
    np.testing.assert_array_equal(their_valid, valid)
    np.testing.assert_array_equal(theirs.transpose(1, 2, 0)[valid], flow[valid])


def test_kitti_rounds_clips_and_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    flow = np.array([[[0.0117, -0.0117], [900, -900], [np.nan, 1], [np.inf, 1]]], np.float32)
    io.write_kitti_png(path, flow)
    back, valid = io.read_kitti_png(path)
    assert valid.tolist() == [[True, True, False, False]]
    assert back[0, 0].tolist() == [1 / 64, -1 / 64]
    assert back[0, 1].tolist() == [(65535 - 32768) / 64, -512]


@pytest.mark.parametrize(("kind", "order"), [("PF", "<"), ("PF", ">"), ("Pf", "<")])
def test_pfm_of_both_byte_orders(tmp_path: Path, kind: str, order: str) -> None:
    shape = (5, 4, 3) if kind == "PF" else (5, 4)
    values = RNG.normal(size=shape).astype(np.float32)
    path = tmp_path / "a.pfm"
    header = f"{kind}\n4 5\n{'-' if order == '<' else ''}1.0\n".encode()
    path.write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())
    np.testing.assert_array_equal(io.read_pfm(path), values)
    np.testing.assert_array_equal(
        cv2.imread(str(path), -1)[..., ::-1] if kind == "PF" else cv2.imread(str(path), -1), values
    )


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".bmp"])
def test_image_round_trip_in_rgb(tmp_path: Path, suffix: str) -> None:
    image = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    io.write_image(path, image)
    np.testing.assert_array_equal(io.read_image(path), image)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], image)
    assert io.image_size(path) == (6, 9)


def test_grey_images_become_rgb_and_masks_bool(tmp_path: Path) -> None:
    grey = np.array([[0, 255], [7, 0]], np.uint8)
    io.write_image(tmp_path / "a.png", grey)
    np.testing.assert_array_equal(io.read_image(tmp_path / "a.png"), grey[..., None].repeat(3, -1))
    np.testing.assert_array_equal(io.read_mask(tmp_path / "a.png"), grey > 0)


def _flo(width: int, height: int, values: bytes) -> bytes:
    return np.float32(202021.25).tobytes() + np.array([width, height], "<i4").tobytes() + values


NANS = np.full(4, np.nan, "<f4").tobytes()
BROKEN = {
    "empty.flo": (io.read_flo, b"", "empty"),
    "text.flo": (io.read_flo, b"this is text, not flow", "not a .flo"),
    "short.flo": (io.read_flo, b"PIEH", "too short"),
    "truncated.flo": (io.read_flo, _flo(4, 4, bytes(40)), "needs 140 bytes"),
    "zero.flo": (io.read_flo, _flo(0, 4, b""), "impossible"),
    "huge.flo": (io.read_flo, _flo(2**30, 2**30, b""), "impossible"),
    "nan.flo": (io.read_flo, _flo(2, 1, NANS), "NaN"),
    "text.pfm": (io.read_pfm, b"P6\n2 2\n255\n", "not a .pfm"),
    "header.pfm": (io.read_pfm, b"Pf\nwide high\n-1\n" + bytes(4), "no size"),
    "truncated.pfm": (io.read_pfm, b"Pf\n2 2\n-1.0\n" + bytes(8), "needs 16 bytes"),
    "zero.pfm": (io.read_pfm, b"Pf\n0 2\n-1.0\n", "impossible"),
    "nan.pfm": (io.read_pfm, b"Pf\n2 2\n-1.0\n" + NANS, "NaN"),
    "text.png": (io.read_image, b"hello", "not an image"),
    "empty.png": (io.read_image, b"", "empty"),
    "flow_text.png": (io.read_kitti_png, b"hello", "not a PNG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(tmp_path: Path, name: str) -> None:
    read, contents, says = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(UserError, match=says) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    io.write_image(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a\.(png|jpg)"):
        io.read_image(path)


def test_an_8_bit_png_is_not_kitti_flow(tmp_path: Path) -> None:
    io.write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="16-bit"):
        io.read_kitti_png(tmp_path / "a.png")


def test_flo5_needs_h5py_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)  # what importing it then raises
    with pytest.raises(UserError, match=r"a\.flo5.*pip install 'selfflow\[spring\]'"):
        io.read_flo5(tmp_path / "a.flo5")


def test_flo5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.flo5"
    with h5py.File(path, "w") as file:
        file["flow"] = FLOW
    np.testing.assert_array_equal(io.read_flo5(path), FLOW)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.flo5: not a \.flo5 file, or a broken one"):
        io.read_flo5(path)
    for name, values, says in (
        ("depth", FLOW, "no data set"),
        ("flow", FLOW[..., 0], "not .H, W, 2."),
        ("flow", FLOW.astype(np.int32), "floats"),
        ("flow", FLOW * np.nan, "NaN"),
        ("flow/inner", FLOW, "floats"),
    ):
        with h5py.File(path, "w") as file:
            file[name] = values
        with pytest.raises(UserError, match=says) as error:
            io.read_flo5(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="missing"):
        io.read_flo5(tmp_path / "missing.flo5")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (io.read_flo, io.read_pfm, io.read_kitti_png, io.read_image, io.image_size):
        with pytest.raises(UserError, match="missing"):
            read(tmp_path / "missing.png")


def test_wrong_arrays_and_formats_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flow"):
        io.write_flo(tmp_path / "a.flo", np.zeros((0, 3, 2), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        io.write_image(tmp_path / "a.png", np.zeros((2, 2, 3)))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not an image format"):
        io.write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())
