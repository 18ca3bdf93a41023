"""Augmentation of frame pairs: affine maps with exact labels, and changes of appearance.

Every sample draws its own values from its key, so a batch on any device is the same as its samples
one by one. The kinds and the default strengths are RAFT's (Teed and Deng, ECCV 2020), the small
motion of frame 2 relative to frame 1 is AutoFlow's (Sun et al., CVPR 2021). `strength` scales all
magnitudes, for a curriculum that grows over training; at 0 only a random crop is left.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow import affine
from selfflow.flow import pixel_grid, sample
from selfflow.pairs import Pairs
from selfflow.photometry import Colors, augment_colors
from selfflow.random import chance, purpose, uniform
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter, parameter_range


class Geometry(Config):
    """How far crops are zoomed, turned and moved. Both frames share a map but for `relative_*`."""

    flip_horizontal: float = parameter(
        0.5, 0.0, 1.0, unit="probability", meaning="mirror left and right"
    )
    flip_vertical: float = parameter(
        0.1, 0.0, 1.0, unit="probability", meaning="mirror top and bottom"
    )
    zoom: tuple[float, float] = parameter_range(
        (-0.2, 0.6), -1.0, 1.5, unit="octaves", meaning="zoom"
    )
    stretch: float = parameter(
        0.2, 0.0, 0.5, unit="octaves", meaning="each axis is zoomed by up to this by itself"
    )
    rotation: float = parameter(10.0, 0.0, 45.0, unit="degrees", meaning="largest rotation")
    relative_zoom: float = parameter(
        0.04, 0.0, 0.2, unit="octaves", meaning="largest zoom of frame 2 relative to frame 1"
    )
    relative_rotation: float = parameter(
        1.7, 0.0, 10.0, unit="degrees", meaning="largest rotation of frame 2 relative to frame 1"
    )
    relative_translation: float = parameter(
        0.03, 0.0, 0.1, unit="crop sides", meaning="largest shift of frame 2 relative to frame 1"
    )


class Augmentation(Config):
    """Everything that is done to a pair of frames before a network sees it in training."""

    geometry: Geometry = Geometry()
    colors: Colors = Colors()


def augment(
    pairs: Pairs,
    keys: Tensor,
    augmentation: Augmentation,
    crop: tuple[int, int],
    strength: float = 1.0,
) -> Pairs:
    """Return augmented crops of `pairs`, labels included, on the device of its images.

    Args:
        pairs: whole frames, with labels or without; frames of any size, also smaller than `crop`.
        keys: one a sample, `(B,)`, see `selfflow.random.key`; may be on another device.
        augmentation: the strengths.
        crop: height and width of the result in pixels.
        strength: factor on all magnitudes; 0 leaves a random crop.
    """
    geometry, colors = augmentation.geometry, augmentation.colors
    keys = keys.to(pairs.image1.device)
    map1, map2 = draw_maps(keys, geometry, pairs.image1.shape[-2:], crop, strength)
    pairs = transform(pairs, map1, map2, crop)
    image1, image2 = augment_colors(pairs.image1, pairs.image2, keys, colors, strength)
    return replace(pairs, image1=image1, image2=image2)


# --- geometry -----------------------------------------------------------------------------------


def draw_maps(
    keys: Tensor,
    geometry: Geometry,
    frame: tuple[int, ...],
    crop: tuple[int, int],
    strength: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the affine maps from the crop's pixels to those of frame 1 and frame 2, `(B, 2, 3)`.

    A crop that would not fit into its frame is zoomed in until both do (RAFT raises the scale
    likewise; AutoFlow draws again, up to 50 times), so that no padding is ever seen.
    """

    device = keys.device
    linear1, linear2, shift = _draw_linear(keys, geometry, crop, strength)
    # Around its centre, a crop takes up `reach` pixels of its frame on either side.
    half = torch.tensor(((crop[1] - 1) / 2, (crop[0] - 1) / 2), device=device)
    last = torch.tensor((frame[1] - 1.0, frame[0] - 1.0), device=device)
    reach1, reach2 = _apply(linear1.abs(), half), _apply(linear2.abs(), half)
    before = torch.maximum(reach1, reach2 - shift)
    after = torch.maximum(reach1, reach2 + shift)
    fits = (last / (before + after).clamp(min=1e-6)).amin(1, keepdim=True).clamp(max=1.0)
    linear1, linear2 = linear1 * fits[..., None], linear2 * fits[..., None]
    shift, before, after = shift * fits, before * fits, after * fits

    place = uniform(purpose(keys, "augment place"), 2)
    centre = before + place * (last - before - after)
    # Whole pixels, so that a crop that is neither turned nor zoomed is not blurred.
    centre = half + (centre - half).round()
    centre = torch.minimum(torch.maximum(centre, before), last - after)
    map1 = torch.cat((linear1, (centre - _apply(linear1, half))[..., None]), 2)
    map2 = torch.cat((linear2, (centre + shift - _apply(linear2, half))[..., None]), 2)
    return map1, map2


def _draw_linear(
    keys: Tensor, geometry: Geometry, crop: tuple[int, int], strength: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both maps' linear parts `(B, 2, 2)` and how far frame 2's centre is off, `(B, 2)`."""

    def signed(name: str, *shape: int) -> Tensor:
        return uniform(purpose(keys, f"augment {name}"), *shape, low=-1.0, high=1.0)

    def flip(name: str, probability: float) -> Tensor:
        flipped = chance(purpose(keys, f"augment {name}"), probability * min(strength, 1.0))
        return torch.where(flipped, -1.0, 1.0)

    zoom = uniform(purpose(keys, "augment zoom"), low=geometry.zoom[0], high=geometry.zoom[1])
    octaves = zoom[:, None] + geometry.stretch * signed("stretch", 2)
    turn = signed("rotation") * math.radians(geometry.rotation) * strength
    first = _product(_rotation(turn), torch.diag_embed(torch.exp2(-strength * octaves)))
    flips = (flip("flip x", geometry.flip_horizontal), flip("flip y", geometry.flip_vertical))
    first = torch.stack(flips, 1)[:, :, None] * first

    turn = signed("relative rotation") * math.radians(geometry.relative_rotation) * strength
    octaves = geometry.relative_zoom * signed("relative zoom")[:, None, None]
    second = _product(first, _rotation(turn)) * torch.exp2(-strength * octaves)
    size = torch.tensor((crop[1], crop[0]), device=keys.device)
    shift = geometry.relative_translation * strength * size * signed("relative translation", 2)
    return first, second, _apply(first, shift)


def positions(maps: Tensor, height: int, width: int, origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Return where affine maps `(B, 2, 3)` take a pixel grid, `(B, 2, height, width)`.

    `origin` is the (x, y) of the grid's first pixel; a negative one reaches beyond the crop.
    """
    grid = pixel_grid(height, width, device=maps.device, dtype=maps.dtype)
    grid = grid + grid.new_tensor(origin).view(1, 2, 1, 1)
    return affine.apply(maps, grid)


def transform(pairs: Pairs, map1: Tensor, map2: Tensor, crop: tuple[int, int]) -> Pairs:
    """Read `pairs` through affine maps of crop pixels to the pixels of frame 1 and of frame 2.

    With s = map1(p), the flow at p is map2⁻¹(s + flow(s)) - p. Between pixels, flow is
    interpolated where its four neighbours are known and within a pixel of one another, and taken
    from the nearest elsewhere: no value is made up across an edge. A pixel is visible if it was
    and if it ends inside the crop of frame 2.
    """
    height, width = pairs.image1.shape[-2:]
    last = map1.new_tensor((width - 1, height - 1)).view(1, 2, 1, 1)
    # The crops lie inside the frames but for rounding, which must not make a border invalid.
    at1 = positions(map1, *crop).clamp(min=0).minimum(last)
    at2 = positions(map2, *crop).clamp(min=0).minimum(last)
    image1, image2 = sample(pairs.image1, at1), sample(pairs.image2, at2)
    if pairs.flow is None:
        return Pairs(image1, image2)
    known = pairs.valid if pairs.valid is not None else torch.ones_like(pairs.flow[:, :1]).bool()
    valid = _nearest(known, at1)
    end = affine.apply(affine.invert(map2), at1 + _read_flow(pairs.flow, known, at1))
    flow = torch.where(valid, end - pixel_grid(*crop, device=end.device), 0)
    visible = None
    if pairs.visible is not None:
        corner = end.new_tensor((crop[1] - 1, crop[0] - 1)).view(1, 2, 1, 1)
        # A thousandth of a pixel for rounding at the border.
        ends_inside = ((end >= -1e-3) & (end <= corner + 1e-3)).all(1, keepdim=True)
        visible = _nearest(pairs.visible, at1) & ends_inside
    foreground = None if pairs.foreground is None else _nearest(pairs.foreground, at1)
    return Pairs(image1, image2, flow, valid, visible, foreground)


def _rotation(angle: Tensor) -> Tensor:
    """Return rotation matrices `(B, 2, 2)` by `angle` `(B,)` radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Return products of matrices `(B, 2, 2)`, written out to keep float32 everywhere."""
    return (first[:, :, :, None] * second[:, None, :, :]).sum(2)


def _apply(linear: Tensor, vectors: Tensor) -> Tensor:
    """Return `linear` `(B, 2, 2)` times `vectors` `(B, 2)` or `(2,)`."""
    return (linear * vectors.expand(len(linear), 2)[:, None]).sum(2)


def _nearest(mask: Tensor, at: Tensor) -> Tensor:
    """Read a mask `(B, 1, H, W)` at the pixels nearest to `at`."""
    return sample(mask.float(), at, mode="nearest") > 0.5


def _read_flow(flow: Tensor, known: Tensor, at: Tensor) -> Tensor:
    """Read flow at sub-pixel positions without mixing motions across edges or unknown pixels."""
    height, width = flow.shape[-2:]
    # The four neighbours of a position are the 2x2 cell that begins at its floor.
    marked = torch.where(known, flow, 1e6)
    spread = F.max_pool2d(marked, 2, stride=1) + F.max_pool2d(-marked, 2, stride=1)
    cell = at.floor().minimum(at.new_tensor((width - 2, height - 2)).view(1, 2, 1, 1))
    smooth = _nearest(spread.amax(1, keepdim=True) < 1, cell)
    flow = torch.where(known, flow, 0)
    return torch.where(smooth, sample(flow, at), sample(flow, at, mode="nearest"))
