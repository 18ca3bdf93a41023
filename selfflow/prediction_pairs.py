"""The pairs of one sequence, one after the other: what is made of each, and what is known of it."""

import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from selfflow.colors import flow_to_color
from selfflow.film import write_film
from selfflow.flow import visible_by_consistency
from selfflow.flowfiles import FORMATS
from selfflow.frames import fit_size
from selfflow.io import Bytes, read_image, write_image
from selfflow.labelled import flow_tensor, image_tensor
from selfflow.models import FlowModel
from selfflow.quality import COLUMNS, measure_quality
from selfflow.rowfile import RowFile
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.sequences import ImageSequence, Sequence
from selfflow.shots import CutFinder, Thumbnail, likeness, thumbnail
from selfflow.videofile import VideoFile

# `checksum` is the second frame's; `scale` the flow that is fully saturated in the picture, px.
PAIR_COLUMNS = ("frame", "next", "checksum", "recognised", "color_distance", "cut", "scale")
# The scale of colours follows the motion: at once where it grows, by so much a frame where it ends.
_DECAY = 0.99


@dataclass(frozen=True)
class Extras:
    """What is written besides flow; may be asked for later, too.

    Attributes:
        visibility: masks, white where a pixel is seen in the next frame (forward-backward check).
        pictures: the flow in colour.
        film: frames beside their flow in colour, and beside the masks.
        quality: what can be known without ground truth, as a table, a plot and a summary.
    """

    visibility: bool = False
    pictures: bool = False
    film: bool = False
    quality: bool = False


def frame_name(sequence: Sequence, index: int) -> str:
    """Return what a frame's files are called: as its own without suffix, or by its number."""
    if isinstance(sequence, ImageSequence):
        return sequence.paths[index].stem
    return f"frame_{index:06d}"


class Pair(NamedTuple):
    """What became of a pair: whether it is a shot cut, and whether anything was made for it now."""

    cut: bool
    made: bool


class PairWriter:
    """Writes the flow of a sequence, and what else is asked for, continuing what is there.

    Args:
        model: on `device`.
        sequence: whose frames.
        folder: of the files.
        kind: a format of `selfflow.flowfiles`, or "none".
        iterations: of the network.
        size: short side to which frames are reduced, or None.
        extras: what is written besides.
        device: where the model is.
        before_writing: called when something has been calculated, before it is written.
    """

    def __init__(
        self,
        model: FlowModel,
        sequence: Sequence,
        folder: Path,
        *,
        kind: str,
        iterations: int,
        size: int | None,
        extras: Extras,
        device: torch.device | str,
        before_writing: Callable[[], None],
    ) -> None:
        self.model, self.sequence, self.folder = model, sequence, folder
        self.kind, self.iterations, self.extras, self.device = kind, iterations, extras, device
        self.before_writing = before_writing
        self.film = folder / "flow.mp4"
        self._pairs = RowFile(folder / "pairs.csv", PAIR_COLUMNS)
        self._quality = RowFile(folder / "quality.csv", COLUMNS) if extras.quality else None
        self._frames = _Frames(sequence, size)
        self._cuts = CutFinder()
        self._scale = 0.0

    def run(self) -> Iterator[Pair]:
        """Do what is missing, and yield what became of each pair."""
        last: dict[str, str] | None = None
        for index in range(len(self.sequence) - 1):
            row = self._pairs.next()
            judged = self._quality is None or self._quality.next() is not None
            if last is not None:
                self._frames.expect(index, int(last["checksum"]))
            if row is not None:
                self._frames.expect(index + 1, int(row["checksum"]))
                self._cuts.remember(float(row["recognised"]))
                self._scale = float(row["scale"])
            done = row is not None and judged and (row["cut"] == "1" or not self._missing(index))
            if not done:
                row = self._make(index, row, judged)
            assert row is not None
            yield Pair(row["cut"] == "1", not done)
            last = row

    def write_film(self) -> Path:
        """Write the film unless it is there; return its path."""
        if not self.film.exists():
            write_film(self.film, self._panels(), self.sequence.frame_rate)
        if not self.extras.pictures:
            shutil.rmtree(self.folder / "color", ignore_errors=True)
        return self.film

    def _panels(self) -> Iterator[Bytes]:
        """Yield frames beside their flow in colour and their mask; black where there is a cut."""
        kinds = ("color", "visible") if self.extras.visibility else ("color",)
        for index in track(range(len(self.sequence) - 1), f"Film of {self.sequence.name}"):
            panels = [self._frames[index].image]
            for kind in kinds:
                path = self.folder / kind / f"{frame_name(self.sequence, index)}.png"
                panels.append(read_image(path) if path.exists() else np.zeros_like(panels[0]))
            yield np.concatenate(panels, 1)

    def _files(self, index: int) -> dict[str, Path]:
        """Return the files that are wanted of a pair, unless it is a cut."""
        name = frame_name(self.sequence, index)
        files = {}
        if self.kind != "none":
            files["flow"] = self.folder / f"{name}{FORMATS[self.kind][0]}"
        if self.extras.visibility:
            files["visible"] = self.folder / "visible" / f"{name}.png"
        if self.extras.pictures or (self.extras.film and not self.film.exists()):
            files["color"] = self.folder / "color" / f"{name}.png"
        return files

    def _missing(self, index: int) -> dict[str, Path]:
        return {kind: path for kind, path in self._files(index).items() if not path.exists()}

    def _make(self, index: int, row: dict[str, str] | None, judged: bool) -> dict[str, str]:
        """Make what is missing of a pair; return its row, which is added last if it is new."""
        first, second = self._frames[index], self._frames[index + 1]
        name = frame_name(self.sequence, index)
        if row is None:
            alike = likeness(first.small, second.small)
            cut = self._cuts.is_cut(alike)
            new = {
                "frame": name,
                "next": frame_name(self.sequence, index + 1),
                "checksum": str(second.checksum),
                "recognised": repr(alike.recognised),
                "color_distance": repr(alike.color_distance),
                "cut": str(int(cut)),
            }
        else:
            cut = row["cut"] == "1"
        measures: dict[str, float] = {}
        if cut:
            self._scale = 0.0
            self.before_writing()
        else:
            measures = self._make_flow(index, first, second, new=row is None, judged=judged)
        if not judged:
            assert self._quality is not None
            unknown = dict.fromkeys(COLUMNS, float("nan"))
            self._quality.append({**unknown, **measures, "frame": name})
        if row is not None:
            return row
        new["scale"] = repr(self._scale)
        self._pairs.append(new)
        return new

    @torch.no_grad()
    def _make_flow(
        self, index: int, first: "_Frame", second: "_Frame", *, new: bool, judged: bool
    ) -> dict[str, float]:
        """Calculate flow and write what is missing; return its quality if that is wanted."""
        missing = self._missing(index)
        image1, image2 = (image_tensor(frame.image).to(self.device) for frame in (first, second))
        forward, backward = self._flow(index, image1, image2, missing, judged)
        array = forward[0].permute(1, 2, 0).float().cpu().numpy()
        if new:
            # The longest vectors are often errors, which would pale all others.
            longest = float(np.percentile(np.hypot(array[..., 0], array[..., 1]), 99))
            self._scale = max(longest, _DECAY * self._scale, 1e-3)
        measures = {}
        if not judged:
            assert backward is not None
            measures = measure_quality(image1, image2, forward, backward)
        self.before_writing()
        if "flow" in missing:
            FORMATS[self.kind][1](missing["flow"], array)
        if "visible" in missing:
            assert backward is not None
            visible = visible_by_consistency(forward, backward)[0, 0].cpu().numpy()
            write_image(missing["visible"], visible.astype(np.uint8) * 255)
        if "color" in missing:
            color = flow_to_color(forward, self._scale)[0].permute(1, 2, 0)
            write_image(missing["color"], (color * 255).round().byte().cpu().numpy())
        return measures

    def _flow(
        self, index: int, image1: Tensor, image2: Tensor, missing: dict[str, Path], judged: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return forward and, where it is needed, backward flow; a file that suffices is read."""
        if "visible" in missing or not judged:
            return self.model.bidirectional(image1, image2, self.iterations)
        if self.kind != "none" and "flow" not in missing:
            kept = FORMATS[self.kind][2](self._files(index)["flow"])
            return flow_tensor(kept).to(self.device), None
        return self.model(image1, image2, self.iterations), None


class _Frame:
    """A frame as it goes into the network, `(H, W, 3)`."""

    def __init__(self, image: Bytes) -> None:
        self.image = image

    @cached_property
    def checksum(self) -> int:
        return zlib.crc32(self.image.tobytes())

    @cached_property
    def small(self) -> Thumbnail:
        return thumbnail(self.image)


class _Frames:
    """A sequence's frames at the wanted size; the two latest are kept."""

    def __init__(self, sequence: Sequence, size: int | None) -> None:
        self._sequence, self._size = sequence, size
        self._kept: dict[int, _Frame] = {}
        self._expected: dict[int, int] = {}

    def expect(self, index: int, checksum: int) -> None:
        """Say what a frame's checksum was when it was first read."""
        self._expected = {at: value for at, value in self._expected.items() if at >= index - 1}
        self._expected[index] = checksum

    def __getitem__(self, index: int) -> _Frame:
        if index not in self._kept:
            self._kept = {at: frame for at, frame in self._kept.items() if at == index - 1}
            self._kept[index] = self._read(index)
        return self._kept[index]

    def _read(self, index: int) -> _Frame:
        frame = self._resized(self._sequence.frame(index))
        wanted = self._expected.get(index)
        if wanted is None or frame.checksum == wanted:
            return frame
        # In some files seeking leads to a frame nearby.
        if isinstance(self._sequence, VideoFile):
            frame = self._resized(self._sequence.counted_frame(index))
        if frame.checksum != wanted:
            name = frame_name(self._sequence, index)
            raise UserError(
                f"{self._sequence.name}: {name} is not what it was when this prediction was begun; "
                "choose another --out"
            )
        return frame

    def _resized(self, image: Bytes) -> _Frame:
        height, width = fit_size(image.shape[0], image.shape[1], self._size)
        if (height, width) != image.shape[:2]:
            smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            image = np.asarray(smaller, np.uint8)
        return _Frame(image)
