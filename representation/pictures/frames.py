"""The frames that pictures are made of: a video's, a folder's, or any images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from representation.encoder import Encoder
from representation.stills import Stills
from selfflow.frames import fit_size
from selfflow.io import IMAGE_SUFFIXES, Bytes
from selfflow.sequences import Sequence, image_files
from selfflow.video import Target, open_target


def open_frames(name_or_path: str, data_root: Path | None = None) -> Target:
    """Return the sequences of an input.

    All images of a folder are one sequence, in the order of their names, of any sizes; a single
    image is one, too. Everything else is as for `selfflow.video.open_target`.
    """
    path = Path(name_or_path)
    if path.is_dir() and (images := image_files(path)):
        return Target(path.resolve().name, (Stills(path.resolve().name, images),))
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Target(path.stem, (Stills(path.stem, [path]),))
    return open_target(name_or_path, data_root)


@dataclass(frozen=True)
class Frame:
    """A frame as it is looked at.

    Attributes:
        number: among all that are looked at.
        sequence: that it belongs to.
        name: unique in it.
        image: reduced, `(H, W, 3)`.
        scale: of the reduced image in its own size, x then y.
    """

    number: int
    sequence: Sequence
    name: str
    image: Bytes
    scale: tuple[float, float]


class Frames:
    """Frames of a target, reduced to a short side, and their features.

    Args:
        target: whose frames.
        encoder: makes the features.
        short_side: of the frames; None: as they are.
        limit: at most so many of each sequence, evenly spread; None: all.
    """

    def __init__(
        self,
        target: Target,
        encoder: Encoder,
        short_side: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.target, self.encoder, self.short_side = target, encoder, short_side
        self.places = [
            (sequence, index)
            for sequence in target.sequences
            for index in evenly(len(sequence), limit)
        ]
        self._names: dict[str, list[str]] = {}

    @property
    def several(self) -> bool:
        """Whether there are several sequences."""
        return len(self.target.sequences) > 1

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Frame]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Frame:
        sequence, index = self.places[number]
        image = sequence.frame(index)
        height, width = fit_size(image.shape[0], image.shape[1], self.short_side)
        reduced = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        scale = (width / image.shape[1], height / image.shape[0])
        name = self._name(sequence, index)
        return Frame(number, sequence, name, np.asarray(reduced, np.uint8), scale)

    def _name(self, sequence: Sequence, index: int) -> str:
        if sequence.name not in self._names:
            names = [sequence.frame_name(i) for i in range(len(sequence))]
            if len({*names}) < len(names):  # cat.jpg beside cat.png
                names = [f"{i:05d}-{name}" for i, name in enumerate(names)]
            self._names[sequence.name] = names
        return self._names[sequence.name][index]

    @torch.no_grad()
    def features(self, frame: Frame) -> Tensor:
        """Return a frame's features, `(1, C, h, w)`."""
        pixels = torch.from_numpy(frame.image).to(self.encoder.mean.device)
        features: Tensor = self.encoder(pixels.permute(2, 0, 1)[None].float() / 255)
        return features


def evenly(length: int, count: int | None) -> list[int]:
    """Return `count` numbers below `length`, evenly spread; all if there are no more, or None."""
    if count is None or count >= length:
        return list(range(length))
    return [int((number + 0.5) * length / count) for number in range(count)]
