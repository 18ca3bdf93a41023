"""Which pairs of frames stand for a whole target: all its sequences, slow and fast motion alike."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest
from math import sqrt

import cv2
import numpy as np
import torch
from torch import Tensor

from selfflow.classical import Dis
from selfflow.frames import FrameCache, PairAddress, fit_size
from selfflow.random import key, purpose, uniform

GOLDEN = (sqrt(5) - 1) / 2  # multiples of it, modulo 1, fill [0, 1) evenly, however many
# Short side of the frames in which motion is estimated, px. On DAVIS, motion in frames of twice the
# size differs by 3 % in the mean.
SMALL = 96


def motions(cache: FrameCache, pairs: Sequence[PairAddress]) -> list[float]:
    """Return how far the pixels of each pair move in the mean, px of the cache's frames.

    Estimated by DIS (Kroeger et al., ECCV 2016) in small frames, and rounded to 0.01 px.
    """
    return [_motion(cache, pair) for pair in pairs]


def covering(
    motions: Mapping[PairAddress, float], count: int, seed: int = 0
) -> tuple[PairAddress, ...]:
    """Return `count` of the pairs so that the first ones, however many, cover the target.

    Every sequence gives one pair before any gives a second. The pairs of a sequence are spread
    over the quantiles of its motion, and of few sequences, theirs over the motion of all.

    Args:
        motions: the pairs to choose from, and how far the pixels of each move.
        count: how many; all are returned if there are no more.
        seed: shifts the choice.
    """
    groups: dict[str, list[PairAddress]] = defaultdict(list)
    for pair in sorted(motions, key=lambda pair: (motions[pair], pair)):
        groups[pair.sequence].append(pair)
    # By their median motion; equal ones by name.
    slowest_first = sorted(
        groups.values(), key=lambda own: (motions[own[len(own) // 2]], own[0].sequence)
    )
    shift = float(uniform(purpose(key(seed, torch.arange(1)), "covering"), 1))
    visited = [slowest_first[at] for at in even_order(len(groups), shift)]
    turns = [
        [own[at] for at in even_order(len(own), (shift + number * GOLDEN) % 1)]
        for number, own in enumerate(visited)
    ]
    order = (pair for given in zip_longest(*turns) for pair in given if pair is not None)
    return tuple(islice(order, count))


def even_order(count: int, shift: float = 0.0) -> list[int]:
    """Return the places 0 to count - 1 so that the first ones, however many, are spread evenly.

    They are visited in bit-reversed order (van der Corput), from `shift` in [0, 1) on, as a share
    of `count`: of any first k, no gap, taken round, is wider than twice another but the last.
    """
    bits = max(count - 1, 1).bit_length()
    reversed_ = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    return [(place + int(shift * count)) % count for place in reversed_ if place < count]


def _motion(cache: FrameCache, pair: PairAddress) -> float:
    height, width = cache.frame(pair.sequence, pair.first).shape[-2:]
    small = fit_size(height, width, SMALL)
    grey = [_small_grey(cache.frame(pair.sequence, index), small) for index in pair[1:]]
    scale = np.array((width / small[1], height / small[0]), np.float32)
    flow = Dis().calculate(*grey) * scale
    return round(float(np.linalg.norm(flow, axis=-1).mean()), 2)


def _small_grey(frame: Tensor, size: tuple[int, int]) -> np.ndarray:
    pixels = frame.permute(1, 2, 0).contiguous().numpy()
    small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
