import os
from pathlib import Path

import numpy as np
import pytest
import torch

from representation.readout.dense.feature_cache import Features, encoder_key, fits, make_room
from selfflow.runs.errors import UserError


@pytest.fixture
def image(tmp_path: Path, write_image) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    return write_image(tmp_path / "image.png", pixels)


def test_kept_features_come_back_bit_for_bit_without_the_encoder(tmp_path, image, colors) -> None:
    encoder = colors(stride=4)
    first = Features(encoder, None, tmp_path / "features")(image)
    again = Features(encoder, None, tmp_path / "features")(image)
    assert encoder.calls == 1
    assert first.dtype == torch.float16
    assert torch.equal(first, again)
    computed = Features(encoder, None, None)(image)
    torch.testing.assert_close(first.float(), computed, rtol=2**-11, atol=1e-6)


def test_other_weights_sizes_strides_and_images_find_nothing_wrong(
    tmp_path, image, colors, write_image
) -> None:
    folder = tmp_path / "features"
    Features(colors(4), None, folder)(image)
    other = write_image(tmp_path / "other.png", np.zeros((20, 30, 3), np.uint8))
    for encoder, side, file in (
        (colors(4, seed=1), None, image),
        (colors(4), 16, image),
        (colors(2), None, image),
        (colors(4), None, other),
    ):
        found = Features(encoder, side, folder)(file)
        torch.testing.assert_close(
            found.float(), Features(encoder, side)(file), rtol=1e-3, atol=1e-6
        )
        assert encoder.calls == 2


def test_a_damaged_file_is_made_again(tmp_path, image, colors) -> None:
    features = Features(colors(4), None, tmp_path / "features")
    first = features(image)
    features.path(image).write_bytes(b"half a file")
    assert torch.equal(features(image), first)
    assert torch.equal(torch.from_numpy(np.load(features.path(image))), first)


def test_features_too_large_for_float16_are_an_error(tmp_path, image, colors) -> None:
    encoder = colors(4)
    encoder.mix.weight.data *= 1e6
    with pytest.raises(UserError, match=r"cache\.keep=false"):
        Features(encoder, None, tmp_path / "features")(image)


def test_the_oldest_features_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.npy").write_bytes(bytes(100))
        os.utime(folder, (1000 - age, 1000 - age))
    mine = tmp_path / "mine"
    assert not fits(tmp_path, mine, 301, 300)
    assert fits(tmp_path, mine, 150, 300)
    make_room(tmp_path, mine, 150, 300)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "mine"}
    make_room(tmp_path, mine, 150, 300)
    assert (tmp_path / "new").exists()
    make_room(tmp_path, tmp_path / "new", 300, 300)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "mine"}


def test_the_same_weights_at_another_stride_have_another_key(colors) -> None:
    assert encoder_key(colors(4)) == encoder_key(colors(4))
    assert encoder_key(colors(4)) != encoder_key(colors(2))
