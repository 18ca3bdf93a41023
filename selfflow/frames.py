"""A target's frames as batches of pairs: decoded and resized once, kept in bounded memory."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.io import Bytes
from selfflow.labelled import flow_tensor, mask_tensor
from selfflow.pairfinding import PairAddress, find_pairs, pairs_from_json, spread
from selfflow.pairs import Pairs
from selfflow.random import bits, integers, key, purpose
from selfflow.runs.errors import UserError
from selfflow.sequences import FlowLabel
from selfflow.video import Target

__all__ = [
    "FrameBatches",
    "FrameCache",
    "PairAddress",
    "find_pairs",
    "fit_size",
    "pairs_from_json",
    "spread",
]

Size = int | tuple[int, int] | None
READERS = 8  # threads; decoding is done outside Python


def fit_size(height: int, width: int, size: Size) -> tuple[int, int]:
    """Return the (height, width) to which a frame is resized.

    `size` is that of the short side, aspect kept and never enlarged; or (height, width); or None,
    which changes nothing.
    """
    if size is None:
        return height, width
    if isinstance(size, tuple):
        if min(size) < 1:
            raise UserError(f"a size of {size[0]}x{size[1]} is impossible")
        return size
    if size < 1:
        raise UserError(f"a size of {size} is impossible")
    scale = min(1.0, size / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class FrameCache:
    """Reads a target's frames, resizes them and keeps the most recently used ones as uint8.

    May be used from several threads; frames of different sequences are read at the same time.

    Args:
        target: whose frames.
        size: to which they are resized, see `fit_size`.
        bytes_limit: how much memory the kept frames may take.
    """

    def __init__(self, target: Target, size: Size = None, bytes_limit: int = 2 << 30) -> None:
        self.target = target
        self.size = size
        self.bytes_limit = bytes_limit
        self.bytes_used = 0
        self._kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._lock = Lock()
        self._readers: dict[str, Lock] = {}

    def frame(self, sequence: str, index: int) -> Tensor:
        """Return a frame, resized, as `(3, H, W)` uint8; not to be changed in place."""
        place = (sequence, index)
        with self._lock:
            reader = self._readers.setdefault(sequence, Lock())
        # A video's decoder is at one place at a time, and no frame is to be read twice.
        with reader:
            with self._lock:
                if place in self._kept:
                    self._kept.move_to_end(place)
                    return self._kept[place]
            frame = _resized(self.target[sequence].frame(index), self.size)
            with self._lock:
                self._kept[place] = frame
                self.bytes_used += frame.nbytes
                while self.bytes_used > self.bytes_limit and len(self._kept) > 1:
                    self.bytes_used -= self._kept.popitem(last=False)[1].nbytes
            return frame

    def frames(self, places: Sequence[tuple[str, int]]) -> list[Tensor]:
        """Return frames by sequence and index, as `frame` does, several read at a time."""
        with ThreadPoolExecutor(min(READERS, len(places) or 1)) as readers:
            return list(readers.map(lambda place: self.frame(*place), places))

    def load(self, pair: PairAddress, device: torch.device | str = "cpu") -> Pairs:
        """Return one pair of whole frames as a batch of one, with its flow where it is known.

        Known flow is resized along: each pixel takes the nearest one's value, so that nothing is
        mixed across motion boundaries or with what is unknown; its vectors are scaled.
        """
        frames = [self.frame(pair.sequence, index)[None] for index in pair[1:]]
        image1, image2 = (_unit(frame.to(device)) for frame in frames)
        label = (
            self.target[pair.sequence].flow(pair.first) if pair.second == pair.first + 1 else None
        )
        if label is None:
            return Pairs(image1, image2)
        return Pairs(image1, image2, *_resized_label(label, *image1.shape[-2:])).to(device)

    def batch(
        self,
        pairs: Sequence[PairAddress],
        *,
        crop: tuple[int, int] | None = None,
        keys: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> Pairs:
        """Return frames as a batch, without labels.

        Args:
            pairs: their addresses, B of them.
            crop: (height, width) of a window, the same in both frames of a pair; smaller frames
                are enlarged so as to fill it. None takes whole frames, which must be of one size.
            keys: `(B,)`, see `selfflow.random`: where the windows lie; None means in the middle.
            device: where the batch goes; it travels there as uint8.
        """
        stacked = []
        read = self.frames([(pair.sequence, index) for pair in pairs for index in pair[1:]])
        for number in range(len(pairs)):
            frames = torch.stack(read[2 * number : 2 * number + 2])
            if crop is not None:
                frames = _window(frames, crop, None if keys is None else keys[number])
            stacked.append(frames)
        if len({frames.shape for frames in stacked}) > 1:
            raise ValueError("whole frames of several sizes do not make a batch; give a crop")
        batch = torch.stack(stacked).to(device)
        return Pairs(_unit(batch[:, 0]), _unit(batch[:, 1]))


@dataclass(frozen=True)
class FrameBatches:
    """Endless batches of a target's pairs: batch `step` depends on the seed and the step alone.

    All pairs are seen once before any is seen again, in a new order each time.

    Attributes:
        cache: where frames are kept.
        pairs: addresses of the pairs to choose from.
        seed: of order and windows.
        batch_size: pairs a batch.
        crop: (height, width) of the windows, see `FrameCache.batch`.
        device: where the batches go.
    """

    cache: FrameCache
    pairs: Sequence[PairAddress]
    seed: int
    batch_size: int
    crop: tuple[int, int] | None = None
    device: torch.device | str = "cpu"

    def __call__(self, step: int) -> Pairs:
        """Return batch number `step`."""
        keys = purpose(self.keys(step), "window")
        return self.cache.batch(self.addresses(step), crop=self.crop, keys=keys, device=self.device)

    def keys(self, step: int) -> Tensor:
        """Return the keys of batch number `step`, `(batch_size,)`, for what is done to it next."""
        return key(self.seed, torch.arange(self.batch_size) + step * self.batch_size)

    def addresses(self, step: int) -> list[PairAddress]:
        """Return which pairs batch number `step` consists of."""
        count = len(self.pairs)
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self.pairs[shuffled(self.seed, n // count, count)[n % count]] for n in numbers]


@lru_cache(maxsize=16)
def shuffled(seed: int, epoch: int, count: int) -> list[int]:
    """Return the order in which `count` things are seen in an epoch."""
    keys = purpose(key(seed, torch.tensor([epoch])), "order")
    return bits(keys, count)[0].argsort(stable=True).tolist()


def _resized(frame: Bytes, size: Size) -> Tensor:
    """Return a frame `(H, W, 3)` as `(3, H', W')` uint8."""
    height, width = fit_size(frame.shape[0], frame.shape[1], size)
    if (height, width) != frame.shape[:2]:
        how = cv2.INTER_AREA if height < frame.shape[0] else cv2.INTER_LINEAR
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)
    return torch.from_numpy(frame).permute(2, 0, 1).contiguous()


def _resized_label(
    label: FlowLabel, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return flow, valid and visible as tensors of the given size."""

    def nearest(values: Tensor) -> Tensor:
        return F.interpolate(values.float(), (height, width), mode="nearest-exact")

    flow = nearest(flow_tensor(label.flow))
    old_height, old_width = label.valid.shape
    flow = flow * torch.tensor((width / old_width, height / old_height)).view(1, 2, 1, 1)
    valid = nearest(mask_tensor(label.valid)).bool()
    visible = None if label.visible is None else nearest(mask_tensor(label.visible)).bool()
    return flow, valid, visible


def _window(frames: Tensor, crop: tuple[int, int], key: Tensor | None) -> Tensor:
    """Return the same window of frames `(N, 3, H, W)` uint8, enlarged before where necessary."""
    height, width = crop
    scale = max(height / frames.shape[-2], width / frames.shape[-1])
    if scale > 1:
        size = [max(s, round(old * scale)) for s, old in zip(crop, frames.shape[-2:], strict=True)]
        frames = F.interpolate(frames, size, mode="bilinear", align_corners=False)
    free = [old - new for old, new in zip(frames.shape[-2:], crop, strict=True)]
    if key is None:
        top, left = free[0] // 2, free[1] // 2
    else:
        top, left = (
            int(integers(purpose(key, axis), 0, room + 1, 1))
            for axis, room in zip(("top", "left"), free, strict=True)
        )
    return frames[..., top : top + height, left : left + width]


def _unit(frames: Tensor) -> Tensor:
    """Return uint8 as float32 in [0, 1]."""
    return frames.float() / 255
