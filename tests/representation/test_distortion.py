import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from representation.distortion import (
    BYOL_1,
    BYOL_2,
    MOCO_V2,
    SIMCLR,
    Distortion,
    blur,
    brightness,
    contrast,
    distort,
    hue,
    jitter,
    saturation,
)
from selfflow.census import grey
from selfflow.random import key


def images(count: int = 4, height: int = 24, width: int = 31) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (brightness, TF.adjust_brightness, (0.2, 1.0, 1.8)),
        (contrast, TF.adjust_contrast, (0.2, 1.0, 1.8)),
        (saturation, TF.adjust_saturation, (0.0, 1.0, 1.8)),
        (hue, TF.adjust_hue, (-0.4, 0.0, 0.2)),
    ],
)
def test_colour_changes_equal_torchvisions(ours, theirs, amounts):
    batch = images(3)
    found = ours(batch, torch.tensor(amounts)).clamp(0, 1)
    expected = torch.stack([theirs(i, a) for i, a in zip(batch, amounts, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_hue_keeps_grey_and_comes_round():
    shades = images(2)[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(hue(shades, torch.tensor([0.3, -0.3])), shades)
    torch.testing.assert_close(hue(images(2), torch.ones(2)), images(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_equals_torchvisions(sigma: float):
    batch = images(2, 120, 70)
    expected = TF.gaussian_blur(batch, [13, 13], [sigma, sigma])
    torch.testing.assert_close(blur(batch, torch.full((2,), sigma)), expected, atol=1e-5, rtol=0)


def test_each_image_has_its_own_blur_and_zero_leaves_it_sharp():
    batch = images(2, 80, 80)
    found = blur(batch, torch.tensor([0.0, 1.5]))
    assert torch.equal(found[0], batch[0])
    assert found[1].var() < 0.5 * batch[1].var()


def test_the_order_of_the_changes_varies_and_each_happens_once(monkeypatch):
    calls: list[str] = []
    for name in ("brightness", "contrast", "saturation", "hue"):

        def record(images: Tensor, amount: Tensor, name: str = name) -> Tensor:
            calls.append(name)
            return images

        record.__name__ = name
        monkeypatch.setattr(f"representation.distortion.{name}", record)
    orders = set()
    for number in range(40):
        calls.clear()
        jitter(images(1), key(0, torch.tensor([number])), Distortion(jitter=1.0))
        assert sorted(calls) == ["brightness", "contrast", "hue", "saturation"]
        orders.add(tuple(calls))
    assert len(orders) > 12


def test_a_sample_depends_on_its_key_alone():
    batch, keys = images(6, 48, 64), key(3, torch.arange(6))
    whole = distort(batch, keys, Distortion())
    for i in range(6):
        alone = distort(batch[i : i + 1], keys[i : i + 1], Distortion())
        torch.testing.assert_close(alone[0], whole[i], atol=1e-6, rtol=0)
    assert not torch.equal(whole, distort(batch, key(4, torch.arange(6)), Distortion()))


def test_no_distortion_changes_nothing_and_colours_stay_in_range():
    batch, keys = images(64, 24, 24), key(0, torch.arange(64))
    off = Distortion(jitter=0.0, grey=0.0, blur=0.0)
    assert torch.equal(distort(batch, keys, off), batch)
    found = distort(batch, keys, Distortion())
    assert found.min() >= 0
    assert found.max() <= 1


def test_things_happen_as_often_as_asked():
    batch, keys = images(1, 20, 20).expand(400, -1, -1, -1), key(0, torch.arange(400))
    found = distort(batch, keys, Distortion(jitter=0.0, grey=0.2, blur=0.0))
    colorless = (found == grey(found)).flatten(1).sum(1) > 100
    without = distort(batch, keys, Distortion(jitter=0.8, grey=0.0, blur=0.0))
    unchanged = (without == batch).flatten(1).all(1)
    assert 0.14 < colorless.float().mean() < 0.26
    assert 0.14 < unchanged.float().mean() < 0.26


def test_solarisation_equals_torchvisions_and_comes_last():
    batch, keys = images(3), key(0, torch.arange(3))
    off = {"jitter": 0.0, "grey": 0.0}
    found = distort(batch, keys, Distortion(blur=0.0, solarise=1.0, threshold=0.4, **off))
    torch.testing.assert_close(found, TF.solarize(batch, 0.4))
    blurred = distort(batch, keys, Distortion(blur=1.0, **off))
    both = distort(batch, keys, Distortion(blur=1.0, solarise=1.0, **off))
    torch.testing.assert_close(both, TF.solarize(blurred, 0.5))


def test_solarisation_happens_as_often_as_asked():
    batch, keys = images(1, 8, 8).expand(400, -1, -1, -1), key(1, torch.arange(400))
    off = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}
    changed = (distort(batch, keys, Distortion(solarise=0.2, **off)) != batch).flatten(1).any(1)
    assert 0.14 < changed.float().mean() < 0.26


def test_recipes_are_those_of_the_papers():
    """Jitter, its four ranges, grey, blur, solarisation: tables of SimCLR, BYOL and MoCo v2."""
    names = ("jitter", "brightness", "contrast", "saturation", "hue", "grey", "blur", "solarise")
    recipes = {
        SIMCLR: (0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5, 0.0),
        BYOL_1: (0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 1.0, 0.0),
        BYOL_2: (0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 0.1, 0.2),
        MOCO_V2: (0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5, 0.0),
    }
    for recipe, values in recipes.items():
        assert tuple(getattr(recipe, name) for name in names) == values
        assert recipe.sigma == (0.1, 2.0)
        assert (recipe.strength, recipe.threshold) == (1.0, 0.5)
