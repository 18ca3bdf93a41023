from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Hyperparameters, Textures
from autoflow.patterns import octaves, procedural_tiles
from autoflow.render import render
from autoflow.scene import draw_scenes
from autoflow.surface import color
from autoflow.textures import COLUMNS, PhotographBank, bank, tile_side
from selfflow.random import key
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
SIDE = 128


def tiles(count: int = 12, **changes: float) -> Tensor:
    return procedural_tiles(Draws(key(0, torch.arange(count))), Textures(**changes), SIDE)


def only(kind: str) -> dict[str, float]:
    return {name: float(name == kind) for name in ("leaves", "noise", "stripes", "gradients")}


def spectral_slope(pictures: Tensor) -> float:
    """Slope of log amplitude against log frequency, averaged over pictures (K, 3, n, n)."""
    grey = pictures.mean(1)
    window = torch.hann_window(SIDE)
    grey = (grey - grey.mean((1, 2), keepdim=True)) * window * window[:, None]
    power = torch.fft.fft2(grey).abs().square().mean(0)
    frequency = torch.fft.fftfreq(SIDE) * SIDE
    radius = (frequency**2 + frequency[:, None] ** 2).sqrt()
    bands = 2.0 ** torch.arange(2, 5.6, 0.5)
    means = [power[(radius >= low) & (radius < high)].mean() for low, high in pairwise(bands)]
    return np.polyfit(np.log(bands[:-1].numpy()), np.log(torch.stack(means).numpy()) / 2, 1)[0]


def test_default_textures_have_the_statistics_of_natural_pictures():
    pictures = tiles(24)
    # Amplitude falls with frequency about as 1/f.
    assert -1.8 < spectral_slope(pictures) < -0.8
    # Colourful, varied within tiles and between them.
    spread = pictures.amax(1) - pictures.amin(1)
    assert 0.1 < spread.mean() < 0.5
    assert 0.1 < pictures.std((2, 3)).mean() < 0.4
    assert pictures.mean((2, 3)).std(0).min() > 0.1


@pytest.mark.parametrize("kind", ["leaves", "noise", "stripes", "gradients"])
def test_every_kind_is_varied_and_within_bounds(kind):
    pictures = tiles(4, **only(kind))
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert (pictures.std((2, 3)).amax(1) > 0.02).all()
    assert not torch.allclose(pictures[0], pictures[1])


def test_dead_leaves_have_edges_and_gradients_have_none():
    def sharpest(kind: str) -> float:
        return tiles(4, **only(kind)).diff(dim=-1).abs().amax((1, 2, 3)).median().item()

    assert sharpest("leaves") > 4 * sharpest("gradients")


def test_octaves_have_unit_variance_and_no_shorter_wavelength():
    draws = Draws(key(0, torch.arange(16)))
    for coarsest, finest in ((0.25, 0.02), (0.1, 0.1)):
        noise = octaves(
            draws, "n", SIDE, channels=2, coarsest=coarsest, finest=finest, roughness=0.8
        )
        assert abs(noise.std() - 1) < 0.15
    coarse = octaves(draws, "n", SIDE, channels=1, coarsest=0.5, finest=0.25, roughness=1.0)
    power = torch.fft.fft2(coarse[:, 0] * torch.hann_window(SIDE)[:, None]).abs().square().mean(0)
    beyond = power[12 : SIDE // 2].sum()  # 12 cycles a tile: wavelength 1/12
    assert beyond < 0.01 * power[1 : SIDE // 2].sum()


def test_a_texture_needs_a_kind():
    with pytest.raises(UserError, match="weight"):
        tiles(1, leaves=0, noise=0, stripes=0, gradients=0)


def test_the_bank_depends_on_its_seed_alone_and_is_made_once():
    first = bank(Textures(), 3, 64, None, CPU)
    assert bank(Textures(), 3, 64, None, CPU) is first
    assert not torch.equal(bank(Textures(), 4, 64, None, CPU).atlas, first.atlas)
    bank.cache_clear()
    assert torch.equal(bank(Textures(), 3, 64, None, CPU).atlas, first.atlas)


def test_levels_of_detail_are_the_tiles_halved():
    made = bank(Textures(), 3, 64, None, CPU)
    tile = torch.tensor(COLUMNS + 2)
    cuts = []
    for level in range(3):
        x, y = made.origin(tile, torch.tensor(level)).tolist()
        side = 64 >> level
        cuts.append(made.atlas[0, :, y : y + side, x : x + side])
    for fine, coarse in pairwise(cuts):
        half = torch.nn.functional.avg_pool2d(fine, 2)
        assert (half - coarse).abs().mean() < 0.05
        assert (half - coarse.flip(-1)).abs().mean() > (half - coarse).abs().mean()


def test_tiles_suit_the_frame():
    assert tile_side(508) == 512
    assert tile_side(78) == 128
    assert tile_side(10) == 64
    assert tile_side(5000) == 1024


def test_color_reads_the_tile_mirrored_at_its_sides(plain):
    scenes = draw_scenes(plain, 0, torch.arange(2), (64, 96), 2)
    surface = torch.tensor((0, scenes.layers + 1))
    points = torch.linspace(-3, 3, 40).expand(2, 40), torch.linspace(2, -2, 40).expand(2, 40)
    found = color(scenes, surface, points)
    atlas = scenes.bank.atlas[0].double()
    for row, (scene, layer) in enumerate(((0, 0), (1, 1))):
        affine = scenes.to_texels[scene, layer].double()
        x0, y0, side = scenes.tiles[scene, layer].tolist()
        for number in range(40):
            place = affine[:, :2] @ torch.stack([p[row, number] for p in points]).double()
            place = (place + affine[:, 2]).tolist()
            last = side - 1
            folded = [abs((p + last) % (2 * last) - last) for p in place]
            x, y = folded[0] + x0, folded[1] + y0
            column, line = min(int(x), int(x0 + last) - 1), min(int(y), int(y0 + last) - 1)
            fx, fy = x - column, y - line
            read = sum(
                atlas[:, line + dy, column + dx] * abs(1 - dx - fx) * abs(1 - dy - fy)
                for dx in (0, 1)
                for dy in (0, 1)
            )
            matrix = scenes.colors[scene, layer].double()
            expected = (matrix[:, :3] @ read + matrix[:, 3]).clamp(0, 1)
            torch.testing.assert_close(found[row, :, number].double(), expected, atol=2e-3, rtol=0)


def red_picture(height: int = 90, width: int = 120) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = 255
    return picture


def test_photographs_become_textures():
    photographs = PhotographBank.from_frames([red_picture()])
    unchanged = {
        "hue": 0.0,
        "layer_saturation": 0.0,
        "layer_contrast": 0.0,
        "layer_brightness": 0.0,
    }
    changes = {f"textures.{name}": value for name, value in unchanged.items()}
    changes |= {f"effects.{name}": 0.0 for name in ("fog", "shadows", "noise", "exposure", "jpeg")}
    hyperparameters = replace_values(Hyperparameters(), changes | {"textures.photographs": 1.0})
    sample = render(hyperparameters, 0, range(2), size=(64, 64), photographs=photographs)
    torch.testing.assert_close(sample.frames[:, :, 0], torch.ones(2, 2, 64, 64))
    assert sample.frames[:, :, 1:].max() < 1e-5


def test_photographs_are_read_in_the_order_of_their_names(tmp_path):
    for name, value in (("b.png", 200), ("a.png", 100)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), value, np.uint8))
    pictures = PhotographBank.from_folder(tmp_path).pictures
    assert [int(picture[0, 0, 0]) for picture in pictures] == [100, 200]


def test_a_folder_without_pictures_and_a_broken_picture_are_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        PhotographBank.from_folder(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png"):
        PhotographBank.from_folder(tmp_path)
