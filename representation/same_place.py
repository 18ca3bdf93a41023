"""Two views of the same place of two frames, each distorted by itself."""

from pydantic import Field
from torch import Tensor

from representation.correspondence import View
from representation.crops import ResizedCrop, draw_resized_crops, take_view
from representation.distortion import MOCO_V2, Distortion
from representation.method import Frames
from selfflow.random import purpose


class SamePlaceViews(ResizedCrop):
    """What the two views of a pair show: the same random crop. The defaults are CACL's."""

    scale: tuple[float, float] = (0.2, 1.0)
    distortion: Distortion = MOCO_V2
    video: bool = Field(True, description="off: both views show the pair's first frame")


def take_same_place(frames: Frames, settings: SamePlaceViews) -> tuple[View, View]:
    """Return the same random crop of both frames of each pair, mirrored in both or in neither."""
    crop = draw_resized_crops(frames.keys, frames.sizes, settings)
    size = (settings.height, settings.width)

    def view(number: int, images: Tensor) -> View:
        keys = purpose(frames.keys, "view", number)
        return take_view(images, crop, size, keys, settings.distortion)

    return view(1, frames.image1), view(2, frames.image2 if settings.video else frames.image1)
