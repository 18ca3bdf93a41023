"""Resized crops against torchvision's, and their maps against what the views show."""

import math

import pytest
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as TF
from torch import Tensor

from representation.correspondence import View, correspondence
from representation.crops import (
    ResizedCrop,
    box_to_frame,
    draw_boxes,
    draw_resized_crops,
    take_view,
)
from representation.distortion import BYOL_1, distort
from selfflow import affine
from selfflow.flow import pixel_grid, sample
from selfflow.random import key, purpose, uniform

BOXES = torch.tensor(
    [(3, 5, 20, 40), (0, 0, 61, 47), (7, 0, 54, 9), (40, 30, 5, 6), (10, 11, 1, 30)]
).float()


def frames(count: int, height: int = 47, width: int = 61) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def settings(**values: object) -> ResizedCrop:
    return ResizedCrop.model_validate({"height": 24, "width": 32} | values)


def sizes(count: int, height: int = 47, width: int = 61) -> Tensor:
    return torch.tensor((height, width)).expand(count, 2)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size", [(24, 32), (16, 16), (60, 20)])
def test_views_equal_torchvisions_resized_crops(size: tuple[int, int], mirrored: bool):
    """Some crops are reduced, some magnified, some both along different axes, in one batch."""
    images, flips = frames(len(BOXES)), torch.full((len(BOXES),), mirrored)
    view = take_view(images, box_to_frame(BOXES, flips, *size), size)
    for image, box, found in zip(images, BOXES.int().tolist(), view.images, strict=True):
        left, top, width, height = box
        expected = TF.resized_crop(image, top, left, height, width, list(size), antialias=True)
        expected = TF.hflip(expected) if mirrored else expected
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def boxes_one_by_one(keys: Tensor, settings: ResizedCrop, height: int, width: int) -> list[list]:
    """torchvision's `get_params`, line by line, with the numbers that ours draws."""
    found = []
    for one in keys:
        areas = uniform(purpose(one, "crop area"), 10).tolist()
        ratios = uniform(purpose(one, "crop ratio"), 10).tolist()
        places = uniform(purpose(one, "crop place"), 2).tolist()
        low, high = (math.log(end) for end in settings.ratio)
        for area, ratio in zip(areas, ratios, strict=True):
            target = (
                height
                * width
                * (settings.scale[0] + area * (settings.scale[1] - settings.scale[0]))
            )
            aspect = math.exp(low + ratio * (high - low))
            w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(places[0] * (width - w + 1)), int(places[1] * (height - h + 1))
                break
        else:
            w, h = width, height
            if width / height < settings.ratio[0]:
                h = round(w / settings.ratio[0])
            elif width / height > settings.ratio[1]:
                w = round(h * settings.ratio[1])
            left, top = (width - w) // 2, (height - h) // 2
        found.append([left, top, w, h])
    return found


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(47, 61, (0.08, 1.0)), (20, 200, (0.5, 1.0)), (200, 20, (0.9, 1.0)), (30, 31, (0.99, 1.0))],
)
def test_boxes_are_drawn_as_torchvision_draws_them(
    height: int, width: int, scale: tuple[float, float]
):
    keys, wanted = key(3, torch.arange(300)), settings(scale=scale)
    found = draw_boxes(keys, sizes(300, height, width), wanted)
    expected = torch.tensor(boxes_one_by_one(keys, wanted, height, width)).float()
    assert (found == expected).all(1).float().mean() > 0.99  # but for float32 at a half
    assert (found - expected).abs().max() <= 1
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= torch.tensor((width, height))).all()


def test_boxes_are_distributed_as_torchvisions():
    count, wanted = 4000, settings()
    found = draw_boxes(key(1, torch.arange(count)), sizes(count, 90, 120), wanted)
    torch.manual_seed(0)
    image = torch.zeros(1, 90, 120)
    drawn = [
        T.RandomResizedCrop.get_params(image, list(wanted.scale), list(wanted.ratio))
        for _ in range(count)
    ]
    expected = torch.tensor([(j, i, w, h) for i, j, h, w in drawn]).float()
    share = torch.tensor((0.1, 0.5, 0.9))
    difference = torch.quantile(found, share, 0) - torch.quantile(expected, share, 0)
    assert difference.abs().max() <= 4


def test_a_sample_depends_on_its_key_and_size_alone():
    keys, wanted = key(5, torch.arange(6)), settings()
    mixed = torch.tensor([(47, 61), (90, 50)]).repeat(3, 1)
    whole = draw_resized_crops(keys, mixed, wanted)
    for i in range(6):
        alone = draw_resized_crops(keys[i : i + 1], mixed[i : i + 1], wanted)
        assert torch.equal(alone[0], whole[i])
    assert not torch.equal(whole, draw_resized_crops(purpose(keys, "x"), mixed, wanted))


def test_views_are_mirrored_as_often_as_asked():
    maps = draw_resized_crops(key(0, torch.arange(500)), sizes(500), settings(flip=0.3))
    assert 0.24 < (maps[:, 0, 0] < 0).float().mean() < 0.36
    assert (maps[:, 1, 1] > 0).all()
    unflipped = draw_resized_crops(key(0, torch.arange(50)), sizes(50), settings(flip=0.0))
    assert (unflipped[:, 0, 0] > 0).all()


def test_padding_is_never_seen():
    images = torch.zeros(8, 3, 60, 80)
    images[:, :, :47, :61] = 1.0
    maps = draw_resized_crops(key(2, torch.arange(8)), sizes(8), settings(scale=(0.7, 1.0)))
    assert take_view(images, maps, (24, 32)).images.min() > 1 - 1e-5


def waves(positions: Tensor) -> Tensor:
    """Colours that vary slowly: a known function of the frame's position."""
    x, y = positions[:, :1], positions[:, 1:]
    return 0.5 + 0.4 * torch.cat(
        [torch.sin(x / 31 + c) * torch.cos(y / 27 - c) for c in range(3)], 1
    )


def test_a_view_shows_the_frame_where_its_map_says():
    images = waves(pixel_grid(120, 160)).expand(12, -1, -1, -1)
    maps = draw_resized_crops(key(1, torch.arange(12)), sizes(12, 120, 160), settings())
    view = take_view(images, maps, (24, 32))
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    expected = waves(affine.apply(maps, pixel_grid(24, 32)))
    torch.testing.assert_close(view.images[inner], expected[inner], atol=5e-3, rtol=0)
    # All of a view lies in what it shows: a box whose edges are half a pixel away.
    assert view.shows(affine.apply(maps, pixel_grid(24, 32))).all()
    assert (view.low >= -0.5 - 1e-3).all()
    assert (view.high <= torch.tensor((159.5, 119.5)) + 1e-3).all()


def test_two_crops_correspond_as_the_images_say():
    images, wanted = waves(pixel_grid(120, 160)).expand(16, -1, -1, -1), settings(scale=(0.3, 1.0))
    keys = key(4, torch.arange(16))
    first, second = (
        take_view(
            images,
            draw_resized_crops(purpose(keys, "view", n), sizes(16, 120, 160), wanted),
            (24, 32),
        )
        for n in (1, 2)
    )
    targets, valid = correspondence(first, second, pixel_grid(24, 32))
    aligned = sample(second.images, targets)
    assert 0.2 < valid.float().mean() < 0.95
    assert ((aligned - first.images).abs() * valid).max() < 0.02


def test_flow_is_not_read_beyond_the_frame():
    """A magnified crop's outermost pixels lie beyond the centres of the frame's pixels."""
    box = torch.tensor([(0.0, 0.0, 4.0, 4.0)])
    view = take_view(frames(1), box_to_frame(box, torch.tensor([False]), 16, 16), (16, 16))
    assert view.to_frame[0, 0, 2] < 0
    whole = View(frames(1), affine.identity(1), torch.zeros(1, 2), torch.tensor([[60.0, 46.0]]))
    flow = torch.full((1, 2, 47, 61), 5.0)
    _, valid = correspondence(view, whole, pixel_grid(16, 16), flow)
    source = affine.apply(view.to_frame, pixel_grid(16, 16))
    assert torch.equal(valid, (source >= 0).all(1, keepdim=True))


def test_colours_are_distorted_by_key():
    images, keys = frames(3), key(0, torch.arange(3))
    maps = draw_resized_crops(keys, sizes(3), settings())
    plain = take_view(images, maps, (24, 32)).images
    found = take_view(images, maps, (24, 32), keys, BYOL_1).images
    torch.testing.assert_close(found, distort(plain, keys, BYOL_1))
    with pytest.raises(ValueError, match="keys"):
        take_view(images, maps, (24, 32), distortion=BYOL_1)


def test_turned_views_are_refused():
    turned = affine.similarity(torch.ones(1), torch.full((1,), 0.1), torch.zeros(2))
    with pytest.raises(ValueError, match="turned"):
        take_view(frames(1), turned, (24, 32))
