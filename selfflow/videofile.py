"""Frames of a video file, decoded by OpenCV on demand."""

import os
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from selfflow.io import Bytes
from selfflow.runs.errors import UserError
from selfflow.sequences import Sequence

# FFmpeg would report a damaged video on standard error by itself; read at the first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# So many frames ahead are decoded and left out; a file is sought by its key frames anyway.
_SKIPPED = 32

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


def video_files(folder: Path) -> list[Path]:
    """Return the video files of a folder, by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


class VideoFile(Sequence):
    """Frames of a video file.

    Neighbours are read on; other frames are sought. Where a file's frames are not evenly spaced in
    time (telephones' films), seeking may give a frame nearby; `counted_frame` does not. The file is
    opened when it is needed, and only a few are held open, so that a target may consist of many
    thousands.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.stem

    @property
    def _decoder(self) -> "_Decoder":
        try:
            return _open(self.path, self.path.stat().st_mtime_ns)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None

    @cached_property
    def _length(self) -> int:
        announced = int(self._decoder.property(cv2.CAP_PROP_FRAME_COUNT))
        if announced > 0 and self._decoder.frame(announced - 1) is not None:
            return announced
        # Some containers only estimate their length; more than 2 % less is a loss, not an estimate.
        actual = self._decoder.count()
        if actual == 0 or actual < announced - max(2, announced // 50):
            raise UserError(
                f"{self.path}: truncated, it announces {announced} frames and holds {actual}"
            )
        return actual

    @cached_property
    def frame_rate(self) -> float | None:  # type: ignore[override]
        """Frames a second as the file states it, or None."""
        rate = self._decoder.property(cv2.CAP_PROP_FPS)
        return rate if np.isfinite(rate) and rate > 0 else None

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames, from the first one."""
        first = self._decoder.frame(0)
        if first is None:
            raise UserError(f"{self.path}: no frame can be decoded")
        return first.shape[0], first.shape[1]

    def __len__(self) -> int:
        return self._length

    def frame(self, index: int) -> Bytes:
        """Return frame `index` as `(H, W, 3)` uint8 RGB."""
        return self._frame(index, counted=False)

    def counted_frame(self, index: int) -> Bytes:
        """Return the same as by reading all frames before it: slow at first, and always right."""
        return self._frame(index, counted=True)

    def _frame(self, index: int, *, counted: bool) -> Bytes:
        self._check_index(index)
        frame = self._decoder.frame(index, counted=counted)
        if frame is None:
            raise UserError(f"{self.path}: frame {index} of {len(self)} cannot be decoded")
        return self._check_size(frame, f"{self.path}, frame {index}")


class _Decoder:
    """An open video file; may be used from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(f"{path}: not a video that can be read, or a truncated one")
        self._lock = Lock()
        self._next = 0  # the frame that comes if nothing is sought
        self._counted = True  # nothing has been sought so far

    def property(self, number: int) -> float:
        """Return one of OpenCV's properties."""
        with self._lock:
            return float(self._capture.get(number))

    def frame(self, index: int, *, counted: bool = False) -> Bytes | None:
        """Return a frame in RGB, or None if it cannot be decoded; `counted`, without seeking."""
        with self._lock:
            if counted and not (self._counted and 0 <= self._next <= index):
                self._capture.open(str(self._path))
                self._next, self._counted = 0, True
            if 0 <= self._next <= index and (counted or index - self._next <= _SKIPPED):
                while self._next < index and self._capture.grab():
                    self._next += 1
            if index != self._next:
                if counted:
                    return None
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
                self._counted = index == 0
            read, frame = self._capture.read()
            self._next = index + 1 if read else -1
            return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8) if read else None

    def count(self) -> int:
        """Return how many frames there really are, by decoding all of them."""
        with self._lock:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            self._next, self._counted = -1, False
            count = 0
            while self._capture.grab():
                count += 1
            return count


@lru_cache(maxsize=8)
def _open(path: Path, modified: int) -> _Decoder:
    """Return the decoder of a file as it was `modified`; the least recently used ones close."""
    return _Decoder(path)
