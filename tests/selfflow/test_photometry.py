"""Changes of appearance against torchvision's, and what must stay as it is."""

import pytest
import torch
from torchvision.transforms import functional as reference

from selfflow.census import grey
from selfflow.photometry import Colors, augment_colors, color_map
from selfflow.random import key

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "turn": 0.0}
PLAIN = {
    "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "gamma": 0,
    "asymmetric": 0, "noise": 0, "erase": 0,
}  # fmt: skip


def apply(image, **changes):
    values = {name: torch.full((len(image),), v) for name, v in (NEUTRAL | changes).items()}
    matrix, offset = color_map(image.mean((2, 3)), **values)
    return torch.einsum("bij,bjhw->bihw", matrix, image) + offset[:, :, None, None]


@pytest.fixture
def image():
    """Colours in the middle, where nothing is clipped."""
    return 0.35 + 0.3 * torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [0.7, 1.3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_change_equals_torchvisions(image, name, factor):
    theirs = getattr(reference, f"adjust_{name}")(image, factor)
    torch.testing.assert_close(apply(image, **{name: factor}), theirs, atol=1e-3, rtol=0)


def test_a_turn_of_the_hue_keeps_luma_and_a_full_one_is_none(image):
    turned = apply(image, turn=0.3)
    assert (turned - image).abs().max() > 0.05
    torch.testing.assert_close(grey(turned), grey(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(apply(image, turn=1.0), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(apply(turned, turn=-0.3), image, atol=1e-5, rtol=0)


def test_a_third_of_a_turn_moves_the_hue_as_in_hsv():
    red = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1)
    turns = (apply(red, turn=t)[0, :, 0, 0] for t in (1 / 3, -1 / 3))
    assert sorted(turn.argmax().item() for turn in turns) == [1, 2]


def test_noise_has_the_drawn_strength_and_differs_between_the_frames():
    image = torch.full((64, 3, 32, 32), 0.5)
    keys = key(3, torch.arange(64))
    first, second = augment_colors(image, image, keys, Colors(**PLAIN | {"noise": 0.06}))
    deviations = (first - image).std((1, 2, 3))
    torch.testing.assert_close(deviations, (second - image).std((1, 2, 3)), atol=3e-3, rtol=0)
    assert deviations.min() < 0.01
    assert 0.05 < deviations.max() < 0.0605
    assert (first - image).mean().abs() < 1e-3
    products = ((first - image) * (second - image)).mean((1, 2, 3)) / deviations.square()
    assert products.abs().max() < 0.1


def test_erasing_paints_rectangles_of_frame_two_in_its_mean_colour():
    image = torch.rand(64, 3, 40, 50)
    keys = key(4, torch.arange(64))
    colors = Colors(**PLAIN | {"erase": 1.0, "erase_size": (0.25, 0.25)})
    first, second = augment_colors(image, image, keys, colors)
    torch.testing.assert_close(first, image, atol=1e-5, rtol=0)
    erased = ((second - image).abs() > 1e-4).any(1, keepdim=True)
    mean = image.mean((2, 3), keepdim=True).expand_as(image)
    torch.testing.assert_close(
        second[erased.expand_as(image)], mean[erased.expand_as(image)], atol=1e-5, rtol=0
    )
    # Rectangles of 10 x 10 pixels, up to three, some of them cut by the frame.
    areas = erased.sum((1, 2, 3))
    assert areas.max() <= 3 * 11 * 11
    assert (areas > 0).all()
    assert areas.float().mean() > 60
    untouched, _ = augment_colors(image, image, keys, Colors(**PLAIN))
    torch.testing.assert_close(untouched, image, atol=1e-5, rtol=0)


def test_gamma_bends_grey_values_and_keeps_black_and_white():
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(32, 3, 1, 3)
    first, _ = augment_colors(
        image, image, key(5, torch.arange(32)), Colors(**PLAIN | {"gamma": 0.5})
    )
    torch.testing.assert_close(first[..., 0], torch.zeros(32, 3, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(first[..., 2], torch.ones(32, 3, 1), atol=1e-5, rtol=0)
    assert first[..., 1].max() > 0.55
    assert first[..., 1].min() < 0.45
