"""What can be shown of the features of some frames; each is made frame by frame."""

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from torch import Tensor

from representation.encoder import Encoder
from representation.pictures.colours import at_pixels, colour_basis, colours
from representation.pictures.frames import Frame, Frames
from representation.pictures.heat import (
    ASKED,
    FOUND,
    Place,
    best_place,
    feature_at,
    heat,
    heat_range,
    marked,
    similarity,
)
from representation.pictures.segments import segment_centroids, segments, segments_picture
from selfflow.io import Bytes
from selfflow.runs.errors import UserError

SHEET = 5  # best matches on one picture


class Product(Protocol):
    """Pictures of one kind."""

    def picture(self, frame: Frame, features: Tensor) -> Bytes:
        """Return the picture of a frame with its features `(1, C, h, w)`."""
        ...

    def extras(self) -> tuple[dict[str, Bytes], dict[str, Any]]:
        """Return further pictures by name, and what a program may want to know, in the end."""
        return {}, {}


class Colours(Product):
    """Each frame beside the colours of its features, with one basis for all frames.

    Args:
        encoder: whose features.
        maps: of some frames, that the basis is made from.
    """

    def __init__(self, encoder: Encoder, maps: Sequence[Tensor]) -> None:
        self.encoder, self.basis = encoder, colour_basis(maps)

    def picture(self, frame: Frame, features: Tensor) -> Bytes:
        """Return the frame beside its colours."""
        painted = at_pixels(colours(features, self.basis), self.encoder, frame.image.shape[:2])[0]
        coloured = (painted.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return np.concatenate((frame.image, coloured), 1)


class Segments(Product):
    """Each frame beside its segments.

    Args:
        encoder: whose features.
        maps: of some frames, which are clustered together, so that a colour means the same in all;
            None clusters each frame by itself, as MultiSiam's figure does.
        count: of clusters.
    """

    def __init__(self, encoder: Encoder, maps: Sequence[Tensor] | None, count: int) -> None:
        self.encoder, self.count = encoder, count
        self.centroids = None if maps is None else segment_centroids(maps, count)

    def picture(self, frame: Frame, features: Tensor) -> Bytes:
        """Return the frame beside itself under its segments."""
        centroids = self.centroids
        if centroids is None:
            centroids = segment_centroids([features], self.count)
        labels = segments(features, centroids, self.encoder, frame.image.shape[:2])
        return np.concatenate((frame.image, segments_picture(frame.image, labels, self.count)), 1)


class Neighbours(Product):
    """Each frame with its most similar pixel to one of a frame, beside the heat of similarity.

    Args:
        frames: all of them.
        maps: of some frames, that the range of the heat is made from.
        number: of the frame in which the pixel lies.
        pixel: (x, y) of that frame, in its own size.

    Raises:
        UserError: there is no such frame or pixel.
    """

    def __init__(
        self, frames: Frames, maps: Sequence[Tensor], number: int, pixel: tuple[float, float]
    ) -> None:
        if not 0 <= number < len(frames):
            raise UserError(f"there is no frame {number}: there are {len(frames)}, from 0")
        self.frames, self.encoder, self.number = frames, frames.encoder, number
        frame = frames[number]
        self.pixel = in_reduced(pixel, frame)
        self.vector = feature_at(frames.features(frame), self.encoder, self.pixel)
        self.range = heat_range([similarity(each, self.vector) for each in maps])
        self.found: list[tuple[int, Place]] = []

    def picture(self, frame: Frame, features: Tensor) -> Bytes:
        """Return the frame, marked, beside the heat."""
        similar = at_pixels(similarity(features, self.vector), self.encoder, frame.image.shape[:2])
        place = best_place(similar)
        asked = frame.number == self.number
        if not asked:
            self.found.append((frame.number, place))
        at, colour = (self.pixel, ASKED) if asked else (place[:2], FOUND)
        warm = heat(frame.image, similar, *self.range)
        return np.concatenate((marked(frame.image, at, colour), marked(warm, at, colour)), 1)

    def extras(self) -> tuple[dict[str, Bytes], dict[str, Any]]:
        """Return a sheet and the matches, the best one first.

        The sheet has the frame that was asked about and the best match of each fifth of the others.
        """
        parts = np.array_split(np.arange(len(self.found)), min(SHEET, len(self.found)) or 1)
        best = [max((self.found[i] for i in part), key=_similarity) for part in parts if len(part)]
        asked = self.frames[self.number].image
        pictures = [marked(asked, self.pixel, ASKED)]
        for number, place in best:
            image = marked(self.frames[number].image, place[:2], FOUND)
            pictures.append(_as_high(image, asked.shape[0]))
        ordered = sorted(self.found, key=_similarity, reverse=True)
        matches = [_described(self.frames[number], place) for number, place in ordered]
        return {"best": np.concatenate(pictures, 1)}, {"matches": matches}


def in_reduced(pixel: tuple[float, float], frame: Frame) -> tuple[float, float]:
    """Return where a pixel (x, y) of a frame lies in the reduced one; UserError outside."""
    height, width = frame.image.shape[:2]
    x, y = ((at + 0.5) * by - 0.5 for at, by in zip(pixel, frame.scale, strict=True))
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        full = round(width / frame.scale[0]), round(height / frame.scale[1])
        raise UserError(f"pixel {pixel[0]:g},{pixel[1]:g} is not in a frame of {full[0]}x{full[1]}")
    return x, y


def _described(frame: Frame, place: Place) -> dict[str, Any]:
    """Return a match for a program, its pixel in the frame's own size."""
    x, y = ((at + 0.5) / by - 0.5 for at, by in zip(place[:2], frame.scale, strict=True))
    return {
        "sequence": frame.sequence.name,
        "frame": frame.name,
        "x": round(x, 1),
        "y": round(y, 1),
        "similarity": round(place.similarity, 4),
    }


def _similarity(found: tuple[int, Place]) -> float:
    return found[1].similarity


def _as_high(image: Bytes, height: int) -> Bytes:
    """Return an image `(H, W, 3)` resized to a height."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
