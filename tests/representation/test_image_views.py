from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from representation.crops import draw_resized_crops, take_view
from representation.distortion import BYOL_1, BYOL_2, Distortion
from representation.image_views import ImageViews, draw_patches, side_by_side, take_views
from representation.method import Frames
from selfflow.random import key, purpose

MakeFrames = Callable[..., Frames]
PLAIN = Distortion(jitter=0.0, grey=0.0, blur=0.0)


def settings(**values: object) -> ImageViews:
    return ImageViews.model_validate({"height": 24, "width": 32} | values)


def test_views_are_resized_crops_with_byols_two_distortions(frames_of: MakeFrames):
    frames = frames_of()
    assert settings().first == BYOL_1
    assert settings().second == BYOL_2
    assert settings().scale == (0.08, 1.0)
    views = take_views(frames, settings())
    for number, view, distortion in ((1, views[0], BYOL_1), (2, views[1], BYOL_2)):
        keys = purpose(frames.keys, "view", number)
        crop = draw_resized_crops(keys, frames.sizes, settings())
        expected = take_view(frames.image1, crop, (24, 32), keys, distortion)
        assert torch.equal(view.images, expected.images)
        assert torch.equal(view.to_frame, crop)
    assert not torch.equal(views[0].to_frame, views[1].to_frame)


def test_with_video_the_second_view_shows_the_second_frame(frames_of: MakeFrames):
    frames = frames_of()
    other = replace(frames, image2=frames.image1.flip(0))
    for video in (True, False):
        one, two = (take_views(f, settings(video=video)) for f in (frames, other))
        assert torch.equal(one[0].images, two[0].images)
        assert torch.equal(one[1].images, two[1].images) != video
        assert torch.equal(one[1].to_frame, two[1].to_frame)


@pytest.mark.parametrize("video", [True, False])
def test_after_a_pre_crop_both_views_show_the_same_patch_alone(frames_of: MakeFrames, video: bool):
    """Whatever lies outside the patch does not matter, and views reach all of it."""
    frames = frames_of(count=64)
    own = settings(pre_crop=20, video=video, first=PLAIN, second=PLAIN)
    places, sizes = draw_patches(frames.keys, frames.sizes, 20)
    inside = patch_mask(places, sizes, 48, 64)
    emptied = replace(frames, image1=frames.image1 * inside, image2=frames.image2 * inside)
    seen, expected = take_views(frames, own), take_views(emptied, own)
    shares = []
    for view, again in zip(seen, expected, strict=True):
        assert torch.equal(view.images, again.images)
        assert (view.low >= places - 0.51).all()
        assert (view.high <= places + 19.51).all()
        shares.append((view.high - view.low).prod(1) / 400)
    assert torch.stack(shares).amin() > 0.05
    assert torch.stack(shares).amax() > 0.85


def patch_mask(places: Tensor, sizes: Tensor, height: int, width: int) -> Tensor:
    mask = torch.zeros(len(places), 1, height, width)
    for i, ((x, y), (h, w)) in enumerate(zip(places.int().tolist(), sizes.tolist(), strict=True)):
        mask[i, :, y : y + h, x : x + w] = 1
    return mask


def test_patches_lie_anywhere_in_their_frames_at_whole_pixels():
    sizes = torch.tensor((30, 50)).repeat(4000, 1)
    sizes[::2] = torch.tensor((12, 40))
    places, patches = draw_patches(key(0, torch.arange(4000)), sizes, 20)
    assert patches[1].tolist() == [20, 20]
    assert patches[0].tolist() == [12, 20]  # a frame that is lower than the patch
    assert places[1::2, 0].unique().tolist() == list(range(31))
    assert places[1::2, 1].unique().tolist() == list(range(11))
    assert places[::2, 0].unique().tolist() == list(range(21))
    assert places[::2, 1].unique().tolist() == [0]
    whole, same = draw_patches(key(0, torch.arange(3)), sizes[:3], None)
    assert whole.abs().sum() == 0
    assert torch.equal(same, sizes[:3])


def test_views_of_a_pair_do_not_depend_on_the_batch(frames_of: MakeFrames):
    whole = take_views(frames_of(), settings(pre_crop=30))
    alone = take_views(frames_of(count=1, first=2), settings(pre_crop=30))
    for view, one in zip(whole, alone, strict=True):
        torch.testing.assert_close(one.images[0], view.images[2])
        assert torch.equal(one.to_frame[0], view.to_frame[2])


def test_the_picture_shows_both_views_of_the_first_image(frames_of: MakeFrames):
    views = take_views(frames_of(), settings())
    (picture,) = side_by_side(views).values()
    assert picture.shape == (3, 24, 64)
    assert torch.equal(picture[:, :, :32], views[0].images[0])
    assert torch.equal(picture[:, :, 32:], views[1].images[0])
