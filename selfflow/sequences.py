"""Frames in order, read one at a time; runs of image files."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfflow.io import IMAGE_SUFFIXES, Bool, Bytes, Float, image_size, read_image
from selfflow.runs.errors import UserError


class FlowLabel(NamedTuple):
    """Known flow from one frame to another.

    Attributes:
        flow: `(H, W, 2)` pixels, finite everywhere.
        valid: `(H, W)`, where `flow` is known.
        visible: `(H, W)`, which pixels are seen in the other frame, or None if nobody knows.
        foreground: `(H, W)`, which pixels show an object that moves by itself, likewise.
    """

    flow: Float
    valid: Bool
    visible: Bool | None
    foreground: Bool | None = None


class Sequence(ABC):
    """Frames of one size that follow one another in time."""

    name: str
    frame_rate: float | None = None  # frames a second, where the source tells

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of frames."""

    @abstractmethod
    def frame(self, index: int) -> Bytes:
        """Return frame `index` as `(H, W, 3)` uint8 RGB."""

    def frame_name(self, index: int) -> str:
        """Return what frame `index` is called: its file's name without suffix, else its number."""
        return f"{index:05d}"

    def flow(self, index: int) -> FlowLabel | None:
        """Return the flow from frame `index` to the next, or None if it is not known."""
        return None

    @property
    def labelled(self) -> Ordered[int]:
        """The frames from which the flow to the next one is known."""
        return ()

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        height, width = self.frame(0).shape[:2]
        return height, width

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} frames, none has number {index}")

    def _check_size(self, frame: Bytes, source: str) -> Bytes:
        height, width = self.size
        if frame.shape[:2] != (height, width):
            raise UserError(
                f"{source}: the frame is {frame.shape[1]}x{frame.shape[0]}, but sequence "
                f"{self.name} began with {width}x{height}"
            )
        return frame


class ImageSequence(Sequence):
    """Frames that are image files.

    Args:
        name: what the sequence is called within its target.
        paths: the files, in order.
        labels: for some frames, a function that reads the flow to the next frame.
        frame_rate: frames a second, where it is known.
    """

    def __init__(
        self,
        name: str,
        paths: Ordered[Path],
        labels: Mapping[int, Callable[[], FlowLabel]] | None = None,
        frame_rate: float | None = None,
    ) -> None:
        self.name = name
        self.paths = list(paths)
        self.labels = dict(labels or {})
        self.frame_rate = frame_rate

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames, from the first one's header."""
        return image_size(self.paths[0])

    def frame(self, index: int) -> Bytes:
        """Return frame `index` as `(H, W, 3)` uint8 RGB."""
        self._check_index(index)
        return self._check_size(read_image(self.paths[index]), str(self.paths[index]))

    def frame_name(self, index: int) -> str:
        """Return the name of frame `index`'s file, without suffix."""
        return self.paths[index].stem

    def flow(self, index: int) -> FlowLabel | None:
        """Return the flow from frame `index` to the next, or None if it is not known."""
        return self.labels[index]() if index in self.labels else None

    @property
    def labelled(self) -> Ordered[int]:
        """The frames from which the flow to the next one is known."""
        return sorted(self.labels)


class Excerpt(Sequence):
    """Frames `start` to `stop`, the latter left out, of another sequence, as one of their own."""

    def __init__(self, whole: Sequence, start: int, stop: int) -> None:
        self.name = f"{whole.name}/{whole.frame_name(start)}"
        self.frame_rate = whole.frame_rate
        self.whole, self.start, self.stop = whole, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def frame(self, index: int) -> Bytes:
        """Return frame `index` as `(H, W, 3)` uint8 RGB."""
        self._check_index(index)
        return self.whole.frame(self.start + index)

    def frame_name(self, index: int) -> str:
        """Return what frame `index` is called in the whole sequence."""
        return self.whole.frame_name(self.start + index)

    def flow(self, index: int) -> FlowLabel | None:
        """Return the flow from frame `index` to the next, or None if it is not known."""
        return self.whole.flow(self.start + index) if index in self.labelled else None

    @property
    def labelled(self) -> Ordered[int]:
        """The frames from which the flow to the next one is known."""
        places = (index - self.start for index in self.whole.labelled)
        return [place for place in places if 0 <= place < len(self) - 1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.whole.size


def apart_from_labels(sequence: Sequence, margin: int) -> list[Sequence]:
    """Return what is left of a sequence without its labelled pairs and the frames near them.

    Args:
        sequence: it is cut where frames are left out; without labels it stays whole.
        margin: how many frames before and after each labelled pair are left out with it. With 1,
            of KITTI's multi-view frames, of which 10 and 11 are labelled, 09 to 12, as in SMURF
            (Stone et al., CVPR 2021), which leaves 00 to 08 and 13 to 20.
    """
    if not sequence.labelled:
        return [sequence]
    near = {
        index for first in sequence.labelled for index in range(first - margin, first + margin + 2)
    }
    cuts = [-1, *sorted(near & set(range(len(sequence)))), len(sequence)]
    spans = ((before + 1, after) for before, after in pairwise(cuts))
    return [Excerpt(sequence, start, stop) for start, stop in spans if stop - start > 1]


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def frame_runs(folder: Path) -> list[list[Path]]:
    """Return the runs of two or more consecutive frames in a folder.

    Frames are counted by the last number in their names that is not the same in all, so that
    `0016E5_07959` (CamVid), `aachen_000000_000019_leftImg8bit` (Cityscapes) and `000157_10` (KITTI)
    fall into their recordings. Names that differ in more than that number are of different runs,
    and a run ends where the numbers jump. Files without numbers are taken by name.
    """
    patterns: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in image_files(folder):
        patterns[(path.suffix.lower(), *re.split(r"\d+", path.stem))].append(path)
    without_numbers = [key for key in patterns if len(key) == 2]
    runs = [sorted(path for key in without_numbers for path in patterns.pop(key))]
    for paths in patterns.values():
        runs.extend(_recordings(paths))
    return sorted(run for run in runs if len(run) > 1)


def _recordings(paths: list[Path]) -> Iterator[list[Path]]:
    """Divide files whose names differ in numbers alone into runs of consecutive ones."""
    numbers = {path: tuple(map(int, re.findall(r"\d+", path.stem))) for path in paths}
    columns = list(zip(*numbers.values(), strict=True))
    counter = max(
        (place for place, column in enumerate(columns) if len(set(column)) > 1), default=0
    )
    recordings: dict[tuple[int, ...], list[Path]] = defaultdict(list)
    for path in sorted(paths, key=numbers.__getitem__):
        recordings[numbers[path][:counter]].append(path)
    for recording in recordings.values():
        yield from _without_jumps(recording, [numbers[path][counter] for path in recording])


def _without_jumps(paths: list[Path], numbers: list[int]) -> Iterator[list[Path]]:
    """Cut a recording where its number jumps by more than twice the usual step."""
    steps = np.diff(numbers)
    usual = np.sort(steps)[(len(steps) - 1) // 2] if len(steps) else 0
    cuts = [0, *(np.flatnonzero(steps > 2 * usual) + 1), len(paths)]
    for start, end in pairwise(cuts):
        yield paths[start:end]


def named_runs(folder: Path, name: str) -> list[tuple[str, list[Path]]]:
    """Return the runs of a folder with names: `name`, or `name/FIRST` if there are several."""
    runs = frame_runs(folder)
    if len(runs) == 1:
        return [(name, runs[0])]
    return [(f"{name}/{run[0].stem}", run) for run in runs]


def image_sequences(
    folder: Path, name: str, *, frame_rate: float | None = None
) -> list[ImageSequence]:
    """Return the sequences of a folder of frames, named as by `named_runs`."""
    return [ImageSequence(*run, frame_rate=frame_rate) for run in named_runs(folder, name)]
