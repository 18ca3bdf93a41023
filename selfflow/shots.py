"""Whether two frames show the same shot, and whether anything moves between them.

Both are judged from small versions of the frames. Gradual transitions (dissolves, fades) are not
looked for: within one, neighbouring frames are alike.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from selfflow.io import Bytes

_WIDTH, _HEIGHT = 128, 96
_BLOCK, _REACH = 24, 20  # pixels of the small version: a block's size, and how far it may move
_TEXTURED = 4.0  # standard deviation in grey levels from which on a block can be recognised

# Measured on DAVIS, Sintel, KITTI, CamVid, Cityscapes, Middlebury, FlyingChairs and a hand-held
# film. Of neighbours, CamVid's at 1 Hz among them, none is recognised by less than 0.43, or by less
# than its colour distance plus 0.09; in dense video none by less than 0.73. Of pairs put together
# from different shots, 97 % are recognised by less than their colour distance plus 0.05, and all
# by less than 0.65.
_SAME_SHOT = 0.08
_USUAL_DROP = 0.3
_RECOGNISED = 0.65
# Likewise, motion of half a pixel changes some block by 2.5 grey levels, neighbours of real video
# by 5.6 or more; a still picture with a noise of 5 grey levels, compressed as JPEG, by up to 1.3.
_MOVES = 2.0


class Thumbnail(NamedTuple):
    """A small frame: `(96, 128)` grey, and the roots of its colour histogram, `(512,)`."""

    grey: npt.NDArray[np.float32]
    histogram: npt.NDArray[np.float32]


def thumbnail(frame: Bytes) -> Thumbnail:
    """Return the small version of a frame `(H, W, 3)`, whatever its shape."""
    small = cv2.resize(frame, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
    histogram = np.sqrt(counts.ravel() / counts.sum())
    return Thumbnail(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), histogram)


def is_static(first: Thumbnail, second: Thumbnail) -> bool:
    """Return whether nothing moves: no block of 8x8 small pixels changes by more than noise.

    A change of brightness of the whole frame counts as nothing.
    """
    change = second.grey - first.grey
    change = np.abs(cv2.blur(change - np.median(change), (3, 3)))
    blocks = change.reshape(_HEIGHT // 8, 8, _WIDTH // 8, 8).mean((1, 3))
    return bool(blocks.max() < _MOVES)


class Likeness(NamedTuple):
    """How alike two frames are.

    Attributes:
        recognised: mean correlation of the blocks of each with their best match in the other.
        color_distance: Hellinger distance of the colour histograms, 0 to 1.
    """

    recognised: float
    color_distance: float


def likeness(first: Thumbnail, second: Thumbnail) -> Likeness:
    """Compare two frames."""
    return Likeness(_recognised(first, second), _color_distance(first, second))


def cuts(pairs: Sequence[Likeness]) -> list[bool]:
    """Return which pairs of frames, from one sequence and equally far apart, hold a shot cut.

    Fast motion keeps colours, a change of exposure keeps structure, a cut neither. A cut is also
    where much less is recognised than usual in the sequence, whatever the colours.
    """
    usual = float(np.median([pair.recognised for pair in pairs])) if pairs else 0.0
    return [_is_cut(pair, usual) for pair in pairs]


class CutFinder:
    """Finds the cuts of a video as it goes by, however long it is.

    As `cuts`, but what is usual is the median of the latest pairs, of which this is the last: a
    pair's answer depends on nothing that comes later.
    """

    def __init__(self, memory: int = 300) -> None:
        self._recognised: deque[float] = deque(maxlen=memory)

    def remember(self, recognised: float) -> None:
        """Take note of a pair that was judged before."""
        self._recognised.append(recognised)

    def is_cut(self, pair: Likeness) -> bool:
        """Return whether the pair after those so far holds a cut, and take note of it."""
        self.remember(pair.recognised)
        return _is_cut(pair, median(self._recognised))


def _is_cut(pair: Likeness, usual: float) -> bool:
    return pair.recognised < _RECOGNISED and (
        pair.recognised - pair.color_distance < _SAME_SHOT or pair.recognised < usual - _USUAL_DROP
    )


def _color_distance(first: Thumbnail, second: Thumbnail) -> float:
    overlap = float((first.histogram * second.histogram).sum())
    return max(0.0, 1 - overlap) ** 0.5


def _recognised(first: Thumbnail, second: Thumbnail) -> float:
    """Return the mean over the textured blocks of both; 1 if there are none at all."""
    scores = [
        *_best_matches(first.grey, second.grey),
        *_best_matches(second.grey, first.grey),
    ]
    return float(np.mean(scores)) if scores else 1.0


def _best_matches(grey: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> list[float]:
    scores = []
    for y in range(0, _HEIGHT - _BLOCK + 1, _BLOCK):
        for x in range(0, _WIDTH - _BLOCK + 1, _BLOCK):
            block = grey[y : y + _BLOCK, x : x + _BLOCK]
            if block.std() >= _TEXTURED:
                rows = slice(max(0, y - _REACH), y + _BLOCK + _REACH)
                columns = slice(max(0, x - _REACH), x + _BLOCK + _REACH)
                match = cv2.matchTemplate(other[rows, columns], block, cv2.TM_CCOEFF_NORMED)
                scores.append(float(match.max()))
    return scores
