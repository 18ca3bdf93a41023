"""A sheet of frames with masks drawn over them: given ones above, propagated ones below."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from representation.readout.propagation.masks import palette
from representation.readout.propagation.scores import boundary
from selfflow.io import Bytes

WIDTH = 320  # px, of one picture
ACROSS = 4  # pictures side by side
CAPTION = 14  # px, of the line below a pair


def overlay(frame: Bytes, numbers: Bytes) -> Bytes:
    """Return a frame `(H, W, 3)` with the objects of a mask `(H, W)` in their colours."""
    colours = palette()[numbers]
    picture = np.where(numbers[..., None] > 0, (frame.astype(int) + colours) // 2, frame)
    for number in np.unique(numbers[numbers > 0]):
        picture[boundary(numbers == number)] = 255
    return picture.astype(np.uint8)


def spaced(count: int, wanted: int) -> list[int]:
    """Return `wanted` indices of `count`, the first and the last among them, evenly spaced."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(wanted, count))})


def sheet(
    frames: Sequence[Bytes], given: Sequence[Bytes], found: Sequence[Bytes], captions: Sequence[str]
) -> Bytes:
    """Return one picture of some frames: given masks above, found ones below, a caption each.

    Frames `(H, W, 3)` are resized to the masks' size `(H, W)`, and all to a width of `WIDTH` px.
    """
    pairs = []
    for frame, truth, mask, caption in zip(frames, given, found, captions, strict=True):
        size = truth.shape[1], truth.shape[0]
        resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        pictures = [_small(overlay(resized, numbers)) for numbers in (truth, mask)]
        pairs.append(np.concatenate([*pictures, _line(caption)]))
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-len(pairs) % min(ACROSS, len(pairs)))
    starts = range(0, len(pairs), ACROSS)
    return np.concatenate([np.concatenate(pairs[i : i + ACROSS], axis=1) for i in starts])


def _small(picture: Bytes) -> Bytes:
    height = max(round(picture.shape[0] * WIDTH / picture.shape[1]), 1)
    return np.asarray(Image.fromarray(picture).resize((WIDTH, height), Image.Resampling.BILINEAR))


def _line(text: str) -> Bytes:
    image = Image.new("RGB", (WIDTH, CAPTION), "white")
    ImageDraw.Draw(image).text((4, 1), text, fill="black")
    return np.asarray(image)
