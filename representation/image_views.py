"""Two views of an image as a whole, for the methods that compare images: BYOL, SimCLR, MoCo.

Two random resized crops of a frame, each with its own distortion. FlowE's supplement (Xiong et al.,
ICCV 2021, section 6.1.2) adapts BYOL to driving video in two steps, both of which are settings:
crops of a patch of the frame alone ("pre-crop"), and of that patch in two frames ("with video").
"""

import torch
from pydantic import Field
from torch import Tensor

from representation.correspondence import View
from representation.crops import ResizedCrop, draw_resized_crops, take_view
from representation.distortion import BYOL_1, BYOL_2, Distortion
from representation.method import Frames
from selfflow.random import purpose, uniform


class ImageViews(ResizedCrop):
    """What the two views of an image show. The defaults are BYOL's."""

    first: Distortion = BYOL_1
    second: Distortion = BYOL_2
    pre_crop: int | None = Field(
        None,
        ge=16,
        description="side of the patch that both views are cut from, in pixels of the frame, "
        "480 in FlowE's supplement; not set: the whole frame",
    )
    video: bool = Field(False, description="the second view shows the pair's second frame")


def take_views(frames: Frames, settings: ImageViews) -> tuple[View, View]:
    """Return two random views of each pair's first frame; with `video`, one of each frame.

    A patch lies anywhere in its frame, at whole pixels, at the same place in both frames; where the
    frame is smaller than the patch, it is as large as the frame.
    """
    places, sizes = draw_patches(frames.keys, frames.sizes, settings.pre_crop)
    size = (settings.height, settings.width)

    def view(number: int, images: Tensor, distortion: Distortion) -> View:
        keys = purpose(frames.keys, "view", number)
        crop = draw_resized_crops(keys, sizes, settings)
        to_frame = torch.cat((crop[:, :, :2], crop[:, :, 2:] + places[..., None]), 2)
        return take_view(images, to_frame, size, keys, distortion)

    image2 = frames.image2 if settings.video else frames.image1
    return view(1, frames.image1, settings.first), view(2, image2, settings.second)


def draw_patches(keys: Tensor, sizes: Tensor, side: int | None) -> tuple[Tensor, Tensor]:
    """Return random patches of frames: their first corners, and their sizes.

    Args:
        keys: one a frame, `(B,)`.
        sizes: height and width of the frames, `(B, 2)`.
        side: of a patch, in pixels; None: patches are whole frames.

    Returns:
        places: x then y, whole pixels, `(B, 2)` float.
        sizes: height and width, `(B, 2)`.
    """
    if side is None:
        return torch.zeros(len(sizes), 2), sizes
    patches = sizes.clamp_max(side)
    room = (sizes - patches).flip(1).float()
    places = (uniform(purpose(keys, "patch"), 2) * (room + 1)).floor().minimum(room)
    return places, patches


def side_by_side(views: tuple[View, View]) -> dict[str, Tensor]:
    """Return a picture, `(3, H, 2 W)`, of the first image's two views."""
    return {"views": torch.cat([view.images[0] for view in views], 2)}
