"""Images as networks see them, and where the pixels of their label maps lie in them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.readout.dense.sources import Source, read_picture
from selfflow.flow import pixel_grid
from selfflow.labelled import image_tensor


def load_image(source: Source, short_side: int | None = None) -> Tensor:
    """Return an image `(1, 3, H, W)` in [0, 1], resized, antialiased, to a short side if given."""
    image = image_tensor(read_picture(source))
    return (
        image if short_side is None else resized(image, resized_size(image.shape[-2:], short_side))
    )


def resized_size(size: Sequence[int], short_side: int) -> tuple[int, int]:
    """Return the (height, width) of an image after its short side is made `short_side`."""
    height, width = size
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images `(B, 3, H, W)` at another size, antialiased."""
    if tuple(image.shape[-2:]) == size:
        return image
    smooth = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    return smooth.clamp(0, 1)


def label_positions(label: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """Return where the pixels of a label map lie in an image that was resized to another size.

    Shape `(1, 2, H, W)`, x then y, in pixels of the image; the outer borders of the two coincide.
    """
    height, width = label
    scale = pixel_grid(1, 1).new_tensor((image[1] / width, image[0] / height)).view(1, 2, 1, 1)
    return (pixel_grid(height, width) + 0.5) * scale - 0.5


def padded(values: Tensor, height: int, width: int, fill: Tensor | None) -> Tensor:
    """Return values `(..., h, w)` at a size that is no smaller, padded at the right and bottom.

    With `fill`, which broadcasts to them, or by repeating the border if it is None.
    """
    inner = values.shape[-2:]
    if tuple(inner) == (height, width):
        return values
    if fill is None:
        rows, columns = (
            torch.arange(side).clamp_max(known - 1)
            for side, known in zip((height, width), inner, strict=True)
        )
        return values[..., rows[:, None], columns]
    canvas = fill.expand(*values.shape[:-2], height, width).clone()
    canvas[..., : inner[0], : inner[1]] = values
    return canvas
