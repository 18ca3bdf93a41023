import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from autoflow import Hyperparameters, render
from autoflow.blocks import Blocks
from autoflow.draws import Draws
from autoflow.effects import _bicubic, apply_effects, compress, exposure, fog, noise
from autoflow.hyperparameters import Effects
from autoflow.paint import paint
from autoflow.scene import Scenes, draw_scenes
from autoflow.views import Views
from selfflow.random import key
from selfflow.runs.config import replace_values

SIZE = (96, 128)


def clips(count: int = 8, frames: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)
    return smooth[:, None].expand(-1, frames, -1, -1, -1).contiguous()


def draws(count: int = 8) -> Draws:
    return Draws(key(2, torch.arange(count)))


OFF = dict.fromkeys(("fog", "exposure", "noise", "jpeg"), 0.0)


def test_effects_that_are_off_change_nothing():
    frames = clips()
    assert torch.equal(apply_effects(frames, Effects(**OFF), key(0, torch.arange(8))), frames)


@pytest.mark.parametrize("name", list(OFF))
def test_an_effect_concerns_its_share_of_the_samples(name):
    frames = clips(1).expand(200, -1, -1, -1, -1)[..., :16, :16]
    effects = Effects(**(OFF | {name: 0.3}))
    changed = apply_effects(frames, effects, key(0, torch.arange(200)))
    share = (changed != frames).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_noise_is_gaussian_of_its_level_and_new_in_every_frame():
    grey = torch.full((8, 2, 3, *SIZE), 0.5)
    effects = Effects(noise_level=0.1)
    added = noise(grey, effects, draws()) - grey
    level = 0.1 * draws().uniform("noise level").float()
    torch.testing.assert_close(added.std((1, 2, 3, 4)), level, rtol=0.03, atol=1e-4)
    values = added[0] / level[0]
    assert abs(values.mean()) < 0.02
    assert abs(values.pow(4).mean() - 3) < 0.15
    first, second = values.flatten(1)
    assert abs((first * second).mean()) < 0.02
    neighbours = values[..., 1:] * values[..., :-1]
    assert abs(neighbours.mean()) < 0.02


def test_fog_lowers_contrast_towards_a_pale_colour():
    frames = clips()
    foggy = fog(frames, Effects(fog_density=1.0), draws())
    assert (foggy.std((1, 2, 3, 4)) < frames.std((1, 2, 3, 4))).all()
    assert not torch.equal(foggy[:, 0], foggy[:, 1])  # it drifts
    # Where fog is complete only its colour is left, the same whatever lies behind.
    black = fog(torch.zeros_like(frames), Effects(fog_density=1.0), draws())
    assert (black >= 0).all()
    assert black.amax() > 0.3


def test_exposure_changes_between_the_frames_as_far_as_it_may():
    frames = clips(64)
    off = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "color": 0.0}
    same = exposure(frames, Effects(**off), draws(64))
    torch.testing.assert_close(same, frames)
    brighter = exposure(frames, Effects(**(off | {"brightness": 0.1})), draws(64)) - frames
    change = (brighter[:, 1] - brighter[:, 0]).mean((1, 2, 3))
    torch.testing.assert_close(change.std(), torch.tensor(0.1), rtol=0.25, atol=0)
    contrast = exposure(frames, Effects(**(off | {"contrast": 0.2})), draws(64))
    factors = (contrast - 0.5).abs().sum((2, 3, 4)) / (frames - 0.5).abs().sum((2, 3, 4))
    torch.testing.assert_close(factors.log()[:, 0].std(), torch.tensor(0.2), rtol=0.25, atol=0)
    gamma = exposure(frames, Effects(**(off | {"gamma": 0.2})), draws(64))
    middle = (frames > 0.1) & (frames < 0.9)
    exponents = torch.where(middle, gamma.log() / frames.log(), 0.0)
    exponents = exponents.sum((2, 3, 4)) / middle.sum((2, 3, 4))
    torch.testing.assert_close(exponents[:, 0].log().std(), torch.tensor(0.2), rtol=0.25, atol=0)


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_is_what_pillow_makes_of_it(quality):
    picture = clips(1)[0, 0]
    stored = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    with io.BytesIO() as file:
        Image.fromarray(stored).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(file)).astype(np.float32)
    found = compress(torch.from_numpy(stored).permute(2, 0, 1)[None] / 255, torch.tensor([quality]))
    found = found[0].permute(1, 2, 0).numpy() * 255
    loss = np.abs(expected - stored).mean()
    assert np.abs(found - expected).mean() < 0.35 * loss + 0.6
    assert abs(np.abs(found - stored).mean() - loss) < 0.15 * loss + 0.3


def test_jpeg_takes_any_size_and_quality_by_sample():
    pictures = clips(2)[:, 0, :, :37, :51]
    found = compress(pictures, torch.tensor((5.0, 95.0)))
    assert found.shape == pictures.shape
    error = (found - pictures).abs().mean((1, 2, 3))
    assert error[0] > 2 * error[1]


# --- effects on layers --------------------------------------------------------------------------


def with_effects(plain: Hyperparameters, **changes: float) -> Tensor:
    changed = replace_values(plain, {f"effects.{name}": value for name, value in changes.items()})
    return render(changed, 5, range(6), size=SIZE).frames


def test_flow_keeps_hard_edges_whatever_the_effects(plain):
    everything = {
        "soft_edges": 1.0, "defocus": 1.0, "motion_blur": 1.0, "fog": 1.0,
        "shadows": 1.0, "noise": 1.0, "exposure": 1.0, "jpeg": 1.0,
    }  # fmt: skip
    changes = {f"effects.{name}": value for name, value in everything.items()}
    clean = render(plain, 5, range(6), size=SIZE)
    full = render(replace_values(plain, changes), 5, range(6), size=SIZE)
    # Soft edges need larger maps, on which shapes are tabulated anew: edges move by a hair.
    same = clean.layers == full.layers
    assert same.float().mean() > 0.998
    agrees = same[:, 0] & same[:, 1]
    difference = (clean.forward - full.forward)[:, 0].norm(dim=1, keepdim=True)
    assert difference[agrees].max() < 1e-3
    assert (clean.frames - full.frames).abs().mean() > 0.02


def test_motion_blur_is_the_mean_over_the_exposure(plain):
    """The mean of sharp pictures of the whole scene, but for edges, where layers hide layers."""
    moving = {"background.translation": 0.04, "effects.motion_blur": 1.0, "effects.shutter": 1.0}
    scenes = draw_scenes(replace_values(plain, moving), 5, torch.arange(4), SIZE, 2)
    blocks = Blocks(*SIZE, torch.device("cpu"))
    times = torch.arange(2, dtype=torch.float64).expand(4, 2)

    def picture(of: Scenes, *shifts: Tensor) -> Tensor:
        return paint(*(Views.at(of, times + shift[:, None]) for shift in shifts), blocks).color

    still = replace(scenes, shutter=torch.zeros(4))
    zero, half = torch.zeros(4), scenes.shutter / 2
    sharp = picture(still, zero, zero, zero)
    moments = [(2 * (i + 0.5) / 9 - 1) * half for i in range(9)]
    mean = sum(picture(still, moment, moment, moment) for moment in moments) / 9
    blurred = picture(scenes, zero, -half, half)
    assert (blurred - mean).abs().mean() < 0.1 * (sharp - mean).abs().mean()
    assert (sharp - mean).abs().mean() > 0.002


def test_motion_blur_is_centred_on_the_frames_instant(plain):
    """Blurred frames match the sharp ones at the instant better than moved along the motion."""
    moving = {
        "background.translation": 0.08, "background.tail": 0.0, "layers.count": (0, 0),
        "background.rotation": 0.0, "background.deformation": 0.0, "background.perspective": 0.0,
        "background.acceleration": 0.0,
    }  # fmt: skip
    changes = moving | {"effects.motion_blur": 1.0, "effects.shutter": 1.0}
    sharp = render(replace_values(plain, moving), 5, range(4), size=SIZE)
    blurred = render(replace_values(plain, changes), 5, range(4), size=SIZE)
    for sample in range(4):
        step = sharp.forward[sample, 0].mean((1, 2))
        errors = []
        for share in (-0.5, 0.0, 0.5):
            dx, dy = (share * step).round().int().tolist()
            moved = sharp.frames[sample, 0].roll((dy, dx), (-2, -1))
            inner = (moved - blurred.frames[sample, 0])[:, 16:-16, 16:-16]
            errors.append(inner.square().mean().item())
        assert errors[1] < min(errors[0], errors[2])


def test_soft_edges_change_pixels_near_edges_only(plain):
    hard = render(plain, 5, range(6), size=SIZE)
    soft = with_effects(plain, soft_edges=1.0, softness=0.06)
    edge = torch.zeros_like(hard.layers[:, :1], dtype=torch.float32)
    edge[..., 1:, :] += hard.layers[:, :1].diff(dim=-2) != 0
    edge[..., 1:] += hard.layers[:, :1].diff(dim=-1) != 0
    near = torch.nn.functional.max_pool2d(edge[:, 0], 9, 1, 4) > 0
    changed = (hard.frames[:, 0] - soft[:, 0]).abs().amax(1, keepdim=True) > 0.02
    assert changed[near].float().mean() > 0.2
    assert changed[~near].float().mean() < 0.02


def test_defocus_smooths_textures(plain):
    sharp = render(plain, 5, range(6), size=SIZE).frames
    blurred = with_effects(plain, defocus=1.0, defocus_radius=0.03)
    assert blurred.diff(dim=-1).abs().mean() < 0.8 * sharp.diff(dim=-1).abs().mean()


def test_shadows_darken_what_lies_below_and_move_with_their_layer(plain):
    lit = render(plain, 5, range(6), size=SIZE)
    shaded = with_effects(plain, shadows=1.0, shadow_offset=0.1, shadow_darkness=1.0)
    change = (shaded - lit.frames).mean(2, keepdim=True)
    assert (change < 0.02).float().mean() > 0.99
    below = change[lit.layers == 0]
    assert (below < -0.05).float().mean() > 0.02
    top = lit.layers == lit.layers.amax((1, 2, 3, 4), keepdim=True)
    assert change[top & (lit.layers > 0)].abs().quantile(0.9) < 0.02


def test_fogs_clouds_are_read_as_torch_reads_them():
    nodes, places = torch.rand(1, 1, 9, 9), torch.linspace(-1.3, 1.3, 40)
    x, y = torch.meshgrid(places, places, indexing="xy")
    grid = torch.stack((x, y), -1)[None]
    read = torch.nn.functional.grid_sample(nodes, grid, mode="bicubic", align_corners=True)
    weights = _bicubic(places, 9)
    torch.testing.assert_close(weights @ nodes @ weights.T, read, rtol=0, atol=1e-5)
