"""Training images at random sizes, cropped and flipped, with their label maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.readout.dense.images import padded, resized
from representation.readout.dense.settings import AugmentationSettings
from selfflow.random import chance, integers, purpose, uniform


def augment(
    image: Tensor,
    labels: Tensor,
    keys: Tensor,
    settings: AugmentationSettings,
    fill: Tensor,
    unknown: int,
) -> tuple[Tensor, Tensor]:
    """Return an image `(1, 3, h, w)` and its labels `(h, w)` after resizing, cropping and flipping.

    Labels are resized to the nearest. Where the crop is larger than the image, both are padded at
    the right and at the bottom.

    Args:
        image: `(1, 3, H, W)` in [0, 1].
        labels: of any size `(H', W')`.
        keys: `(1,)`, which decide everything random.
        settings: ranges.
        fill: colour `(3, 1, 1)` beyond the image.
        unknown: label beyond it.
    """
    size = random_size((image.shape[-2], image.shape[-1]), keys, settings)
    image = resized(image, size)
    labels = F.interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]
    if settings.height is not None and settings.width is not None:
        crop = settings.height, settings.width
        height, width = (max(inner, outer) for inner, outer in zip(size, crop, strict=True))
        image = padded(image, height, width, fill)
        labels = padded(labels, height, width, torch.tensor(unknown, dtype=labels.dtype))
        top, left = (
            int(integers(purpose(keys, name), 0, labels.shape[side] - crop[side] + 1))
            for side, name in enumerate(("top", "left"))
        )
        rows, columns = slice(top, top + crop[0]), slice(left, left + crop[1])
        image, labels = image[..., rows, columns], labels[rows, columns]
    if chance(purpose(keys, "flip"), settings.flip):
        image, labels = image.flip(-1), labels.flip(-1)
    return image, labels


def random_size(
    size: tuple[int, int], keys: Tensor, settings: AugmentationSettings
) -> tuple[int, int]:
    """Return the (height, width) that an image of some size is resized to."""
    factor = float(uniform(purpose(keys, "zoom"), low=settings.zoom[0], high=settings.zoom[1]))
    if settings.short_side is not None:
        low, high = settings.short_side
        factor *= int(integers(purpose(keys, "short side"), low, high + 1)) / min(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
