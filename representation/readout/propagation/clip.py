"""The masks of a whole sequence, from the first frame's."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.readout.propagation.cells import Cells, Reading, Size, resize_nearest
from representation.readout.propagation.neighbours import (
    Known,
    Matching,
    labels_at,
    propagated,
)
from selfflow.runs.cost import seconds_of

Rescaling = Literal["none", "output", "maps"]
Decision = Literal["frame", "input"]
TILES = {"cpu": 12, "cuda": 32}  # cells a side; small ones compute less in vain, large ones faster


@dataclass(frozen=True)
class Memory:
    """Which frames masks are propagated from, and how the maps become masks.

    Attributes:
        previous: so many frames before, besides the first one.
        padded: where there are fewer, the first one stands for those that are missing.
        first_windowed: whether windows apply to the first frame as to the others.
        reading: of the first mask at cells.
        rescaling: each object's map to [0, 1], by its least and largest value: "maps" of cells
            before they are propagated further, "output" after drawing alone, or "none".
        decision: which object a pixel shows is decided at the size of the "frame", or at the size
            of the encoder's "input" and resized from there, each pixel as the nearest.
    """

    previous: int
    padded: bool
    first_windowed: bool
    reading: Reading
    rescaling: Rescaling
    decision: Decision


@torch.no_grad()
def propagate_clip(
    features: Callable[[int], Tensor],
    count: int,
    first: Tensor,
    cells: Cells,
    matching: Matching,
    memory: Memory,
    *,
    tile: int | None = None,
) -> Iterator[Tensor]:
    """Yield the masks of the frames after the first one, `(H, W)` uint8.

    Features of a frame are computed once; those of `memory.previous` + 1 frames are kept.

    Args:
        features: of a frame, by its index, `(h, w, C)`.
        count: of frames.
        first: the first frame's mask, `(H, W)` uint8, objects numbered from 1 on.
        cells: where the features lie; gives h and w.
        matching: how neighbours are chosen.
        memory: see there.
        tile: see `propagated`; None takes one that fits the device.
    """
    size = first.shape[0], first.shape[1]
    start = features(0)
    classes = int(first.max()) + 1
    labels = F.one_hot(first.long(), classes).permute(2, 0, 1).to(start)
    labels = cells.read(labels, memory.reading).permute(1, 2, 0)  # (h, w, K)
    side = tile or _tile(start.device)
    whole = Known(start, labels, memory.first_windowed)
    recent = deque([Known(start, labels)] * memory.previous, memory.previous)
    if not memory.padded:
        recent.clear()
    for index in range(1, count):
        current = features(index)
        maps = propagated(current, [whole, *recent], matching, tile=side).permute(2, 0, 1)
        if memory.rescaling == "maps":
            maps = rescaled(maps)
        recent.append(Known(current, maps.permute(1, 2, 0)))
        yield decided(maps, cells, memory, size)


@torch.no_grad()
def matching_seconds(features: Tensor, matching: Matching, memory: Memory) -> float:
    """Return about how long it takes to match a frame with features `(h, w, C)`.

    Its middle tile is matched with as many frames as there will be, twice; the second time counts.
    """
    side = _tile(features.device)
    tiles, place = 1, []
    for size in features.shape[:2]:
        count = -(-size // side)
        tiles *= count
        place.append(slice(count // 2 * side, min((count // 2 + 1) * side, size)))
    labels = features.new_zeros(*features.shape[:2], 2)
    first = Known(features, labels, memory.first_windowed)
    context = [first, *[Known(features, labels)] * memory.previous]
    where = (place[0], place[1])
    seconds = [
        seconds_of(lambda: labels_at(where, features, context, matching), features.device)
        for _ in range(2)
    ]
    return seconds[-1] * tiles


def decided(maps: Tensor, cells: Cells, memory: Memory, size: Size) -> Tensor:
    """Return which object each pixel of a frame shows, `(H, W)` uint8, from maps `(K, h, w)`.

    The largest value wins; where two are equal, the one with the lower number.
    """
    drawn = cells.draw(maps, size if memory.decision == "frame" else cells.size)
    if memory.rescaling == "output":
        drawn = rescaled(drawn)
    return resize_nearest(drawn.argmax(0).byte(), size)


def rescaled(maps: Tensor) -> Tensor:
    """Return maps `(K, h, w)`, each from 0, its least value, to 1, its largest; a flat one is 0."""
    least = maps.amin((1, 2), keepdim=True)
    span = maps.amax((1, 2), keepdim=True) - least
    return (maps - least) / torch.where(span > 0, span, 1)


def _tile(device: torch.device) -> int:
    return TILES.get(device.type, TILES["cpu"])
