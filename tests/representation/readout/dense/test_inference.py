from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from representation.encoder import read_features
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.heads import Heads
from representation.readout.dense.images import label_positions, load_image
from representation.readout.dense.inference import Reader, window_starts
from representation.readout.dense.settings import WindowSettings


@given(st.integers(1, 300), st.integers(16, 120), st.floats(0, 0.9), st.sampled_from([1, 4, 8]))
def test_windows_cover_an_image_and_overlap(
    length: int, window: int, overlap: float, stride: int
) -> None:
    starts = window_starts(length, window, overlap, stride)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] + window >= length
    assert starts[-1] < max(1, length)
    assert all(start % stride == 0 for start in starts)
    if len(starts) > 1:
        steps = [after - before for before, after in pairwise(starts)]
        assert max(steps) <= max(stride, window * (1 - overlap))


@pytest.fixture
def image(tmp_path: Path, write_image) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    return write_image(tmp_path / "image.png", pixels)


def test_windows_of_a_network_that_sees_single_pixels_give_what_the_whole_image_gives(
    image, colors
) -> None:
    encoder = colors(1)
    heads = Heads("linear", 6, 4, 2).eval()
    whole = list(Reader(encoder, heads, Features(encoder), WindowSettings())(image, (50, 70)))
    assert len(whole) == 2
    for overlap in (0.0, 0.5):
        window = WindowSettings(height=16, width=24, overlap=overlap)
        parts = list(Reader(encoder, heads, Features(encoder), window)(image, (50, 70)))
        for a, b in zip(whole, parts, strict=True):
            torch.testing.assert_close(a, b)


def test_outputs_are_read_at_the_pixels_of_the_label_map(image, colors) -> None:
    encoder = colors(4, alignment=1.0)
    heads = Heads("linear", 6, 3, 1).eval()
    (found,) = Reader(encoder, heads, Features(encoder, 30), WindowSettings())(image, (50, 70))
    assert found.shape == (3, 50, 70)
    resized = load_image(image, 30)
    assert resized.shape[-2:] == (30, 42)
    outputs = heads(encoder(resized))[0]
    expected = read_features(outputs, label_positions((50, 70), (30, 42)), 4, encoder.offset)[0]
    torch.testing.assert_close(found, expected)


def test_label_positions_keep_the_borders_where_they_are() -> None:
    same = label_positions((3, 5), (3, 5))[0]
    assert same[0].tolist() == [[0, 1, 2, 3, 4]] * 3
    double = label_positions((4, 8), (2, 4))[0]
    assert double[1, :, 0].tolist() == [-0.25, 0.25, 0.75, 1.25]
    assert double[0, 0, -1] == 3.25
