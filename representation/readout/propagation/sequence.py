"""One sequence: propagated, written, scored, drawn; kept so that a stopped run goes on after it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from representation.readout.propagation.davis import MaskedClip
from representation.readout.propagation.masks import (
    object_numbers,
    read_indices,
    two_valued,
    write_indices,
)
from representation.readout.propagation.pictures import sheet, spaced
from representation.readout.propagation.scores import (
    contour_accuracy,
    region_similarity,
    statistics,
)
from selfflow.io import Bytes, write_image
from selfflow.runs.errors import UserError
from selfflow.sequences import ImageSequence

DRAWN = 8  # frames on a sheet

# (J, F) of an object in each scored frame.
Scores = dict[int, list[tuple[float, float]]]


class Truth:
    """The given masks of a sequence, all of the first one's size.

    Args:
        clip: the sequence.
        merged: all objects count as one.

    Raises:
        UserError: the first mask shows no object.
    """

    def __init__(self, clip: MaskedClip, *, merged: bool) -> None:
        self.clip, self.merged = clip, merged
        path = clip.masks[0]
        self.binary = two_valued(read_indices(path))
        self.first = object_numbers(path, binary=self.binary, merged=merged)
        self.objects = [int(number) for number in np.unique(self.first) if number]
        if not self.objects:
            raise UserError(f"{path}: the first mask shows no object, so there is none to follow")

    def __getitem__(self, index: int) -> Bytes:
        """Return the mask of a frame, `(H, W)`."""
        path = self.clip.masks[index]
        numbers = object_numbers(path, binary=self.binary, merged=self.merged)
        if numbers.shape != self.first.shape:
            height, width = self.first.shape
            raise UserError(
                f"{path}: the mask is {numbers.shape[1]}x{numbers.shape[0]}, the first one of the "
                f"sequence {width}x{height}"
            )
        return numbers


def score(found: Callable[[int], Bytes], truth: Truth) -> Scores:
    """Return J and F of each object of the first mask in each frame that counts.

    The official evaluation also scores numbers that the first mask skips; here these are no
    objects. In DAVIS none is skipped.
    """
    values: Scores = {number: [] for number in truth.objects}
    for index in truth.clip.scored:
        mask, wanted = found(index), truth[index]
        for number, kept in values.items():
            pair = mask == number, wanted == number
            kept.append((region_similarity(*pair), contour_accuracy(*pair)))
    return values


def summary(values: Scores) -> dict[str, Any]:
    """Return mean, recall and decay of J and F, by object's number."""
    return {
        str(number): {
            "J": asdict(statistics([j for j, _ in pairs])),
            "F": asdict(statistics([f for _, f in pairs])),
        }
        for number, pairs in values.items()
    }


def evaluate(
    clip: MaskedClip, truth: Truth, masks: Iterator[Bytes], folder: Path, picture: Path
) -> dict[str, Any]:
    """Write the propagated masks of a sequence and a sheet of them, and return their scores.

    Args:
        clip: the sequence.
        truth: its given masks.
        masks: of the frames after the first one, `(H, W)`, in order.
        folder: for `NNNNN.png` of every frame, the first one's as it was given.
        picture: the sheet's file.
    """
    write_indices(folder / f"{clip.frames[0].stem}.png", truth.first)
    for path, mask in zip(clip.frames[1:], masks, strict=True):
        write_indices(folder / f"{path.stem}.png", mask)

    def written(index: int) -> Bytes:
        return read_indices(folder / f"{clip.frames[index].stem}.png")

    values, still = score(written, truth), score(lambda _: truth.first, truth)
    write_image(picture, _sheet(clip, truth, written, values))
    return {
        "frames": [clip.frames[index].stem for index in clip.scored],
        "objects": summary(values),
        "identity": summary(still),
        "J by frame": {str(number): [j for j, _ in pairs] for number, pairs in values.items()},
        "F by frame": {str(number): [f for _, f in pairs] for number, pairs in values.items()},
    }


def averages(sequences: Mapping[str, Any], part: str = "objects") -> dict[str, float]:
    """Return the means over all objects of all sequences, J&F the first."""
    objects = [each for sequence in sequences.values() for each in sequence[part].values()]

    def mean(measure: str, kind: str) -> float:
        return float(np.mean([each[measure][kind] for each in objects]))

    j, f = mean("J", "mean"), mean("F", "mean")
    rest = {
        f"{measure}_{kind}": mean(measure, kind)
        for measure in ("J", "F")
        for kind in ("recall", "decay")
    }
    return {"J&F": (j + f) / 2, "J": j, "F": f, **rest}


def _sheet(clip: MaskedClip, truth: Truth, found: Callable[[int], Bytes], values: Scores) -> Bytes:
    places = spaced(len(clip.scored), DRAWN)
    indices = [clip.scored[place] for place in places]
    frames = ImageSequence(clip.name, clip.frames)
    return sheet(
        [frames.frame(index) for index in indices],
        [truth[index] for index in indices],
        [found(index) for index in indices],
        [_caption(clip, place, values.values()) for place in places],
    )


def _caption(clip: MaskedClip, place: int, values: Any) -> str:
    j, f = np.mean([pairs[place] for pairs in values], axis=0)
    return f"{clip.frames[clip.scored[place]].stem}: J {j:.2f}, F {f:.2f}"
