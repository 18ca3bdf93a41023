"""Random views of frames: a crop at the same place of both frames, then an affine map for each.

In FlowE's views the crop's middle is the view's middle, and beyond the crop there is nothing. Small
views then give away where in the crop a feature lies, by the crop's edges where it is reduced, and
by the padding of the convolutions: a network that knows these places alone, and nothing of what it
sees, predicts the other view well. With `surroundings` and `shift` it has to look.
"""

import math

import torch
from torch import Tensor

from representation.correspondence import View
from representation.distortion import Distortion, distort
from representation.encoder import IMAGENET_MEAN
from selfflow import affine
from selfflow.flow import check_images, pixel_grid, sample
from selfflow.random import purpose, uniform
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter, parameter_range


class ViewSize(Config):
    """How large views are."""

    height: int = parameter(224, 16, 4096, unit="px", meaning="height of views")
    width: int = parameter(224, 16, 4096, unit="px", meaning="width of views")


class ViewSettings(ViewSize):
    """What the views of a pair of frames show. The defaults are FlowE's (sections 3.3, 4.3)."""

    height: int = parameter(512, 16, 4096, unit="px", meaning="height of crops and views")
    width: int = parameter(1024, 16, 4096, unit="px", meaning="width of crops and views")
    zoom: tuple[float, float] = parameter_range(
        (0.75, 1.25), 0.1, 10.0, unit="factor", meaning="zoom of both frames before the crop"
    )
    affine: bool = parameter(
        True, False, True, unit="on or off", meaning="scale and turn each view by itself"
    )
    scale: tuple[float, float] = parameter_range(
        (0.5, 2.0), 0.1, 10.0, unit="factor", meaning="scale of a view within its crop"
    )
    rotation: float = parameter(
        30.0, 0.0, 180.0, unit="degrees", meaning="a view is turned by up to this, either way"
    )
    shift: float = parameter(
        0.0, 0.0, 1.0, unit="share", meaning="a view is moved by up to this of its size, either way"
    )
    surroundings: bool = parameter(
        False, False, True, unit="on or off", meaning="views also show what lies around their crop"
    )
    distortion: Distortion = Distortion()


def draw_crops(keys: Tensor, sizes: Tensor, settings: ViewSettings) -> Tensor:
    """Return the map from a random crop's pixels to the frame's, `(B, 2, 3)`.

    The zoom is drawn uniformly. Where a crop would not fit into its frame, of `sizes` `(B, 2)`
    (height, width), it is zoomed in until it does: it never shows anything outside. Places are
    whole pixels.
    """
    zoom = uniform(purpose(keys, "crop zoom"), low=settings.zoom[0], high=settings.zoom[1])
    last = sizes.flip(1).float() - 1
    extent = last.new_tensor((settings.width - 1.0, settings.height - 1.0))
    step = torch.minimum(1 / zoom, (last / extent).amin(1))
    room = (last - extent * step[:, None]).clamp_min(0)
    place = (room * uniform(purpose(keys, "crop place"), 2)).round().minimum(room)
    return torch.cat((torch.diag_embed(step[:, None].expand(-1, 2)), place[..., None]), 2)


def draw_affines(keys: Tensor, settings: ViewSettings) -> Tensor:
    """Return A, the random map from a crop's pixels to a view's, `(B, 2, 3)`.

    Scale and rotation about the centre, then the shift. The paper gives the scale's range alone; it
    is drawn uniformly in its logarithm here, so that views are as often reduced as magnified.
    """
    if not settings.affine:
        return affine.identity(len(keys), device=keys.device)
    low, high = map(math.log, settings.scale)
    scale = uniform(purpose(keys, "view scale"), low=low, high=high).exp()
    limit = math.radians(settings.rotation)
    angle = uniform(purpose(keys, "view rotation"), low=-limit, high=limit)
    size = torch.tensor((settings.width, settings.height), device=keys.device)
    found = affine.similarity(scale, angle, (size - 1) / 2)
    most = settings.shift * size
    moved = most * uniform(purpose(keys, "view shift"), 2, low=-1.0, high=1.0)
    return torch.cat((found[:, :, :2], found[:, :, 2:] + moved[..., None]), 2)


def make_view(
    frames: Tensor,
    keys: Tensor,
    crop: Tensor,
    settings: ViewSettings,
    sizes: Tensor | None = None,
) -> View:
    """Return random views `(B, 3, height, width)` of crops of `frames` `(B, 3, H, W)`.

    One bilinear reading does crop and affine map together; then colours and sharpness change (see
    `distort`). What lies outside the crop, or with `surroundings` outside the frame, is painted in
    ImageNet's mean colour, which the encoder turns into zero: it looks like the convolutions' own
    padding.

    Args:
        frames: whole frames in [0, 1].
        keys: one a view, `(B,)`; different ones for the two views of a pair.
        crop: from `draw_crops`; the same for both views of a pair.
        settings: sizes and ranges.
        sizes: height and width of the frames, `(B, 2)`; None: all are as large as the tensor.
    """
    check_images(frames)
    size = (settings.height, settings.width)
    if settings.surroundings:
        high = crop.new_tensor(frames.shape[:1:-1]) - 1 if sizes is None else sizes.flip(1) - 1.0
        high = high.expand(len(frames), 2).to(frames.device)
        low = torch.zeros_like(high)
    else:
        corners = crop.new_tensor(((0.0, size[1] - 1), (0.0, size[0] - 1)))[None, :, None]
        low, high = affine.apply(crop, corners)[:, :, 0].to(frames.device).unbind(2)
    to_frame = affine.chain(affine.invert(draw_affines(keys, settings)), crop).to(frames.device)
    positions = affine.apply(to_frame, pixel_grid(*size, device=frames.device))
    last = positions.new_tensor((frames.shape[3] - 1, frames.shape[2] - 1)).view(1, 2, 1, 1)
    images = sample(frames, positions.clamp_min(0).minimum(last))
    images = distort(images, keys, settings.distortion)
    view = View(images, to_frame, low, high)
    nothing = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    images = torch.where(view.shows(positions), images, nothing)
    return View(images, to_frame, low, high)
