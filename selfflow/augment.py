"""Augmentation of frame pairs: affine maps with exact labels, colours, noise, erased patches.

Every sample draws its own values from its key, so a batch on any device is the same as its samples
one by one. The kinds and the default strengths are RAFT's (Teed and Deng, ECCV 2020), the small
motion of frame 2 relative to frame 1 is AutoFlow's (Sun et al., CVPR 2021). `strength` scales all
magnitudes, for a curriculum that grows over training; at 0 only a random crop is left.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.flow import pixel_grid, sample
from selfflow.losses import LUMA
from selfflow.pairs import Pairs
from selfflow.random import bits, chance, purpose, uniform
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter


class Geometry(Config):
    """How far crops are zoomed, turned and moved. Both frames share a map but for `relative_*`."""

    flip_horizontal: float = parameter(
        0.5, 0.0, 1.0, unit="probability", meaning="mirror left and right"
    )
    flip_vertical: float = parameter(
        0.1, 0.0, 1.0, unit="probability", meaning="mirror top and bottom"
    )
    zoom: float = parameter(0.2, -0.5, 1.0, unit="octaves", meaning="mean zoom")
    zoom_spread: float = parameter(
        0.4, 0.0, 1.0, unit="octaves", meaning="zoom differs from its mean by up to this"
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


class Colors(Config):
    """How far colours change, in both frames alike unless the change is asymmetric."""

    brightness: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="colours are multiplied by 1 ± this"
    )
    contrast: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="distance to the mean grey is multiplied by 1 ± this"
    )
    saturation: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="distance to grey is multiplied by 1 ± this"
    )
    hue: float = parameter(
        0.16, 0.0, 0.5, unit="turns", meaning="hue is turned by up to this, either way"
    )
    gamma: float = parameter(
        0.1, 0.0, 0.5, unit="octaves", meaning="exponent of the grey curve, up to this either way"
    )
    asymmetric: float = parameter(
        0.2, 0.0, 1.0, unit="probability", meaning="each frame draws changes of its own"
    )
    noise: float = parameter(
        0.02, 0.0, 0.06, unit="intensity", meaning="largest standard deviation of added noise"
    )
    erase: float = parameter(
        0.5, 0.0, 1.0, unit="probability", meaning="rectangles of frame 2 are painted over"
    )
    erase_size: float = parameter(
        0.27, 0.05, 0.5, unit="shorter sides", meaning="largest side of an erased rectangle"
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
        keys: one a sample, `(B,)`, see `selfflow.random.key`.
        augmentation: the strengths.
        crop: height and width of the result in pixels.
        strength: factor on all magnitudes; 0 leaves a random crop.
    """
    map1, map2 = draw_maps(keys, augmentation.geometry, pairs.image1.shape[-2:], crop, strength)
    pairs = transform(pairs, map1, map2, crop)
    image1, image2 = augment_colors(pairs.image1, pairs.image2, keys, augmentation.colors, strength)
    return Pairs(image1, image2, pairs.flow, pairs.valid, pairs.visible)


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

    def signed(name: str) -> Tensor:
        return uniform(purpose(keys, f"augment {name}"), low=-1.0, high=1.0)

    def flip(name: str, probability: float) -> Tensor:
        flipped = chance(purpose(keys, f"augment {name}"), probability * min(strength, 1.0))
        return 1.0 - 2.0 * flipped

    device = keys.device
    zoom = geometry.zoom + geometry.zoom_spread * signed("zoom")
    stretch = geometry.stretch * torch.stack((signed("stretch x"), signed("stretch y")), 1)
    flips = torch.stack(
        (flip("flip x", geometry.flip_horizontal), flip("flip y", geometry.flip_vertical)), 1
    )
    linear1 = _rotation(signed("rotation") * math.radians(geometry.rotation) * strength)
    linear1 = torch.diag_embed(flips) @ linear1
    linear1 = linear1 * torch.exp2(-strength * (zoom[:, None] + stretch))[:, None]

    turn = signed("relative rotation") * math.radians(geometry.relative_rotation) * strength
    relative_zoom = torch.exp2(-strength * geometry.relative_zoom * signed("relative zoom"))
    linear2 = linear1 @ _rotation(turn) * relative_zoom[:, None, None]
    shift = torch.stack((signed("relative x"), signed("relative y")), 1)
    shift = shift * torch.tensor((crop[1], crop[0]), device=device)
    shift = _apply(linear1, shift * geometry.relative_translation * strength)

    # Around its centre, a crop takes up `reach` pixels of its frame on either side.
    half = torch.tensor(((crop[1] - 1) / 2, (crop[0] - 1) / 2), device=device)
    last = torch.tensor((frame[1] - 1.0, frame[0] - 1.0), device=device)
    reach1, reach2 = _apply(linear1.abs(), half), _apply(linear2.abs(), half)
    before = torch.maximum(reach1, reach2 - shift)
    after = torch.maximum(reach1, reach2 + shift)
    fits = (last / (before + after).clamp(min=1e-6)).amin(1, keepdim=True).clamp(max=1.0)
    linear1, linear2 = linear1 * fits[..., None], linear2 * fits[..., None]
    shift, before, after = shift * fits, before * fits, after * fits

    place = torch.stack((signed("place x"), signed("place y")), 1) * 0.5 + 0.5
    centre = before + place * (last - before - after)
    # Whole pixels, so that a crop that is neither turned nor zoomed is not blurred.
    centre = half + (centre - half).round()
    centre = torch.minimum(torch.maximum(centre, before), last - after)
    map1 = torch.cat((linear1, (centre - _apply(linear1, half))[..., None]), 2)
    map2 = torch.cat((linear2, (centre + shift - _apply(linear2, half))[..., None]), 2)
    return map1, map2


def positions(affine: Tensor, height: int, width: int, origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Return where an affine map `(B, 2, 3)` sends a pixel grid, `(B, 2, height, width)`.

    `origin` is the (x, y) of the grid's first pixel; a negative one reaches beyond the crop.
    """
    grid = pixel_grid(height, width, device=affine.device, dtype=affine.dtype)
    grid = grid + grid.new_tensor(origin).view(1, 2, 1, 1)
    return _map_points(affine, grid)


def invert(affine: Tensor) -> Tensor:
    """Return the inverse of affine maps `(B, 2, 3)`."""
    (a, b, x), (c, d, y) = (row.unbind(1) for row in affine.unbind(1))
    inverse = torch.stack((torch.stack((d, -b), 1), torch.stack((-c, a), 1)), 1)
    inverse = inverse / (a * d - b * c)[:, None, None]
    offset = -_apply(inverse, torch.stack((x, y), 1))
    return torch.cat((inverse, offset[..., None]), 2)


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
    end = _map_points(invert(map2), at1 + _read_flow(pairs.flow, known, at1))
    flow = torch.where(valid, end - pixel_grid(*crop, device=end.device), 0)
    visible = None
    if pairs.visible is not None:
        corner = end.new_tensor((crop[1] - 1, crop[0] - 1)).view(1, 2, 1, 1)
        # A thousandth of a pixel for rounding at the border.
        ends_inside = ((end >= -1e-3) & (end <= corner + 1e-3)).all(1, keepdim=True)
        visible = _nearest(pairs.visible, at1) & ends_inside
    return Pairs(image1, image2, flow, valid, visible)


def _rotation(angle: Tensor) -> Tensor:
    """Return rotation matrices `(B, 2, 2)` by `angle` `(B,)` radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)


def _apply(linear: Tensor, vectors: Tensor) -> Tensor:
    """Return `linear` `(B, 2, 2)` times `vectors` `(B, 2)` or `(2,)`."""
    return (linear @ vectors.to(linear.dtype)[..., None])[..., 0]


def _map_points(affine: Tensor, points: Tensor) -> Tensor:
    """Return the images of `points` `(B or 1, 2, H, W)` under `affine` `(B, 2, 3)`."""
    x, y = points[:, :1], points[:, 1:]
    coefficients = affine[:, :, :, None, None]
    return coefficients[:, :, 0] * x + coefficients[:, :, 1] * y + coefficients[:, :, 2]


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


# --- colours ------------------------------------------------------------------------------------


def augment_colors(
    image1: Tensor, image2: Tensor, keys: Tensor, colors: Colors, strength: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return both frames `(B, 3, H, W)` with other colours and noise, and frame 2 with holes.

    Brightness, saturation, hue and contrast are one affine map of colours, clamped once at the
    end; hue is a rotation about the grey axis in YIQ, which keeps luma (torchvision's rotates in
    HSV). Contrast refers to the mean grey of both frames, so that a symmetric change is one.
    """
    asymmetric = chance(purpose(keys, "augment asymmetric"), colors.asymmetric)
    keys2 = torch.where(asymmetric, purpose(keys, "augment second"), keys)
    mean = (image1.mean((2, 3)) + image2.mean((2, 3))) / 2
    image1 = _change_colors(image1, mean, keys, colors, strength)
    image2 = _change_colors(image2, mean, keys2, colors, strength)
    # Noise is never shared: it is what differs between two photographs of the same thing.
    image1 = _add_noise(image1, purpose(keys, "augment noise", 1), keys, colors.noise * strength)
    image2 = _add_noise(image2, purpose(keys, "augment noise", 2), keys, colors.noise * strength)
    return image1, _erase(image2, keys, colors, strength)


def _change_colors(
    image: Tensor, mean: Tensor, keys: Tensor, colors: Colors, strength: float
) -> Tensor:
    """Apply the affine map of colours, then the grey curve; the result is clamped to [0, 1]."""

    def signed(name: str) -> Tensor:
        return uniform(purpose(keys, f"augment {name}"), low=-1.0, high=1.0) * strength

    matrix, offset = color_map(
        mean,
        brightness=1 + colors.brightness * signed("brightness"),
        contrast=1 + colors.contrast * signed("contrast"),
        saturation=1 + colors.saturation * signed("saturation"),
        turn=colors.hue * signed("hue"),
    )
    changed = torch.einsum("bij,bjhw->bihw", matrix, image) + offset[:, :, None, None]
    changed = changed.clamp(0, 1)
    if colors.gamma * strength == 0:
        return changed
    return changed.pow(torch.exp2(colors.gamma * signed("gamma"))[:, None, None, None])


def color_map(
    mean: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the matrix `(B, 3, 3)` and offset `(B, 3)` of a change of colours.

    Args:
        mean: mean colour of the images, `(B, 3)`; contrast keeps its luma.
        brightness: factor on colours, `(B,)`.
        contrast: factor on the distance to the mean luma, `(B,)`.
        saturation: factor on the distance to grey, `(B,)`.
        turn: rotation of the hue, `(B,)` turns.
    """
    # YIQ: luma and two axes of colour, in which a turn of the hue is a rotation.
    to_yiq = mean.new_tensor((LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)))
    rotation = torch.zeros(len(mean), 3, 3, device=mean.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1:, 1:] = _rotation(2 * math.pi * turn) * saturation[:, None, None]
    matrix = torch.linalg.inv_ex(to_yiq).inverse @ rotation @ to_yiq
    matrix = matrix * brightness[:, None, None]
    grey = (matrix @ mean[..., None])[..., 0] @ to_yiq[0]
    offset = ((1 - contrast) * grey)[:, None].expand(-1, 3)
    return matrix * contrast[:, None, None], offset


def _add_noise(image: Tensor, noise_keys: Tensor, keys: Tensor, largest: float) -> Tensor:
    """Add noise of a standard deviation drawn from [0, largest), the same one in both frames."""
    if largest == 0:
        return image
    deviation = uniform(purpose(keys, "augment noise level"), high=largest)
    # The sum of four random bytes is close to normal and takes one hash a value.
    word = bits(noise_keys, *image.shape[1:])
    total = (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255) + (word >> 24)
    noise = (total - 510).to(image.dtype) * (1 / math.sqrt(4 * (256**2 - 1) / 12))
    return (image + noise * deviation[:, None, None, None]).clamp(0, 1)


def _erase(image: Tensor, keys: Tensor, colors: Colors, strength: float) -> Tensor:
    """Paint up to three rectangles in the image's mean colour (SMURF: one, two more at 1/2 each).

    Labels stay as they are: the network is asked to guess the motion of what it cannot see.
    """
    if colors.erase * strength == 0:
        return image
    height, width = image.shape[-2:]
    grid = pixel_grid(height, width, device=image.device)
    size = image.new_tensor((width, height))
    mean = image.mean((2, 3), keepdim=True)
    painted = chance(purpose(keys, "augment erase"), colors.erase * min(strength, 1.0))
    for number in range(3):
        if number:
            painted = painted & chance(purpose(keys, "augment erase more", number), 0.5)
        draw = uniform(purpose(keys, "augment erased", number), 4)
        sides = (0.5 + 0.5 * draw[:, :2]) * colors.erase_size * min(height, width)
        centre = draw[:, 2:] * size
        off = (grid - centre[:, :, None, None]).abs() - sides[:, :, None, None] / 2
        within = (off <= 0).all(1, keepdim=True) & painted[:, None, None, None]
        image = torch.where(within, mean, image)
    return image
