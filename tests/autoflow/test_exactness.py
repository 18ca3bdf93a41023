"""Flow and visibility against an independent float64 tracer, and against the pictures."""

import math

import numpy as np
import pytest
import torch
from tracer import Tracer

from autoflow.hyperparameters import Hyperparameters
from autoflow.render import Sample, render_scenes
from autoflow.scene import Scenes, draw_scenes
from selfflow.flow import warp
from selfflow.runs.config import replace_values

SIZE = (224, 288)


def rendered(
    hyperparameters: Hyperparameters, count: int, frames: int = 2, size: tuple[int, int] = SIZE
) -> tuple[Scenes, Sample]:
    scenes = draw_scenes(hyperparameters, 7, torch.arange(count), size, frames)
    return scenes, render_scenes(scenes)


def random_pixels(size: tuple[int, int], count: int = 2000) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(0, n, count) for n in reversed(size)], 1).astype(float)


def at(values: torch.Tensor, pixels: np.ndarray) -> np.ndarray:
    """Values (C, H, W) at pixels (n, 2): (n, C)."""
    x, y = pixels.astype(int).T
    return values[:, y, x].T.numpy()


WILD = {
    "foreground.perspective": 0.15,
    "foreground.deformation": 0.04,
    "foreground.shear": 0.15,
    "foreground.rotation": 20.0,
    "foreground.scale": 0.2,
    "background.deformation": 0.04,
    "background.perspective": 0.06,
}


MOVING_GROUND = {
    "background.deformation": 0.03,
    "background.perspective": 0.06,
    "background.rotation": 5.0,
}


@pytest.mark.parametrize(
    ("changes", "frames"), [({}, 2), (WILD, 2), pytest.param({}, 4, marks=pytest.mark.slow)]
)
def test_flow_and_layers_are_the_tracers(plain, changes, frames):
    scenes, sample = rendered(replace_values(plain, changes), 3, frames)
    pixels = random_pixels(SIZE)
    for scene in range(3):
        tracer = Tracer(scenes, scene)
        for t in range(frames - 1):
            for start, end, flows in (
                (t, t + 1, sample.forward),
                (t + 1, t, sample.backward),
            ):
                top, nearest = tracer.top(pixels, start)
                shown = at(sample.layers[scene, start], pixels)[:, 0]
                assert (shown == top)[nearest > 0.01].all()
                expected = tracer.flow(pixels, shown, start, end)
                error = np.linalg.norm(at(flows[scene, t], pixels) - expected, axis=1)
                assert error.max() < 0.01


def test_layers_that_rest_move_as_the_background_does(plain):
    """Homography and deformation: flow is as if no layer were there."""
    still = dict.fromkeys(
        ("translation", "rotation", "scale", "shear", "perspective", "deformation"), 0.0
    )
    resting = replace_values(
        plain, {f"foreground.{name}": value for name, value in still.items()} | MOVING_GROUND
    )
    _, sample = rendered(resting, 3, 3)
    _, empty = rendered(replace_values(resting, {"layers.count": (0, 0)}), 3, 3)
    assert (sample.layers > 0).float().mean() > 0.1
    assert (sample.forward - empty.forward).abs().max() < 0.01
    assert (sample.backward - empty.backward).abs().max() < 0.01
    unbent = replace_values(resting, {"background.deformation": 0.0, "layers.count": (0, 0)})
    assert (rendered(unbent, 3, 3)[1].forward - empty.forward).abs().max() > 2


@pytest.mark.parametrize("changes", [{}, WILD])
def test_visibility_is_the_tracers(plain, changes):
    scenes, sample = rendered(replace_values(plain, changes), 4)
    pixels = random_pixels(SIZE)
    height, width = SIZE
    hidden = 0
    for scene in range(4):
        tracer = Tracer(scenes, scene)
        for start, end, masks in (
            (0, 1, sample.visible_forward),
            (1, 0, sample.visible_backward),
        ):
            shown = at(sample.layers[scene, start], pixels)[:, 0]
            target = pixels + tracer.flow(pixels, shown, start, end)
            border = np.abs(np.stack((target, target - (width - 1, height - 1)))).min((0, 2))
            inside = ((target >= 0) & (target <= (width - 1, height - 1))).all(1)
            covered = np.zeros(len(pixels), bool)
            nearest = border
            for layer in range(1, scenes.layers):
                if scenes.present[scene, layer]:
                    points = tracer.to_layer(layer, target, end)
                    distance = tracer.covers(layer, points)
                    covered |= (distance > 0) & (layer > shown)
                    nearest = np.where(layer > shown, np.minimum(nearest, abs(distance)), nearest)
            expected = inside & ~covered
            visible = at(masks[scene, 0], pixels)[:, 0]
            clear = nearest > 0.02
            assert (visible == expected)[clear].all()
            assert clear.mean() > 0.95
            hidden += (inside & covered).sum()
    assert hidden > 50  # the test has seen occlusion


def test_forward_and_backward_flow_cancel_where_visible(plain):
    scenes, sample = rendered(plain, 4)
    for scene in range(4):
        tracer = Tracer(scenes, scene)
        pixels = random_pixels(SIZE)
        pixels = pixels[at(sample.visible_forward[scene, 0], pixels)[:, 0]]
        flow = at(sample.forward[scene, 0], pixels)
        # Backward flow at the target itself, not between pixels of several layers.
        top = at(sample.layers[scene, 0], pixels)[:, 0]
        back = tracer.flow(pixels + flow, top, 1, 0)
        assert np.abs(flow + back).max() < 0.05
    # And as it is stored, read bilinearly, where all four pixels show the same layer.
    stored = warp(sample.backward[:, 0], sample.forward[:, 0])
    whole = one_layer_at_target(sample)
    error = (sample.forward[:, 0] + stored).norm(dim=1, keepdim=True)
    assert error[whole & sample.visible_forward[:, 0]].max() < 0.05


def one_layer_at_target(sample: Sample) -> torch.Tensor:
    """Where all pixels that are read at the target show the layer that is followed."""
    same = torch.ones_like(sample.visible_forward[:, 0])
    for layer in sample.layers.unique():
        at_target = warp((sample.layers[:, 1] == layer).float(), sample.forward[:, 0])
        same &= (sample.layers[:, 0] != layer) | (at_target > 0.9999)
    return same


def psnr(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> float:
    error = (a - b).square().mean(1, keepdim=True)[mask].double().mean()
    return -10 * math.log10(error)


def test_frame_2_warped_back_is_frame_1_with_coarse_textures(plain):
    size = (448, 576)
    side = math.sqrt(size[0] * size[1])
    coarse = replace_values(
        plain,
        {
            "textures.leaves": 0.0,
            "textures.stripes": 0.0,
            "textures.zoom": (1.0, 1.0),
            "textures.finest": 16 / side,
        },
    )
    _, sample = rendered(coarse, 4, size=size)
    back = warp(sample.frames[:, 1], sample.forward[:, 0])
    assert psnr(back, sample.frames[:, 0], sample.visible_forward[:, 0]) >= 38


def test_default_textures_warp_as_well_as_with_the_tracers_flow(plain):
    height, width = size = (128, 176)
    scenes, sample = rendered(plain, 3, size=size)
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    pixels = np.stack((x, y), 1).astype(float)
    for scene in range(3):
        tracer = Tracer(scenes, scene)
        top, _ = tracer.top(pixels, 0)
        traced = tracer.flow(pixels, top, 0, 1).T.reshape(1, 2, height, width)
        frame1, frame2 = sample.frames[scene, :1], sample.frames[scene, 1:]
        visible = sample.visible_forward[scene]
        own = psnr(warp(frame2, sample.forward[scene]), frame1, visible)
        best = psnr(warp(frame2, torch.from_numpy(traced).float()), frame1, visible)
        assert own > best - 1
