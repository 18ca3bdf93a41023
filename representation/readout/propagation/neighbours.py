"""Labels of a frame's cells from those of other frames, by nearest neighbours in feature space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Window = Literal["circle", "square"]
Selection = Literal["together", "each"]


@dataclass(frozen=True)
class Matching:
    """How neighbours are chosen and what they weigh.

    Attributes:
        count: of neighbours.
        temperature: affinities are divided by it before the softmax.
        selection: "together": the `count` largest affinities of all frames at once, and a softmax
            over these. "each": a softmax over all cells of one frame, the `count` largest weights
            of it as they are, and the mean over frames.
        radius: cells of a windowed frame further off are left out; None leaves out none.
        window: what is further off: a "circle" keeps distances below `radius`, a "square" keeps
            offsets of at most `radius` along each axis.
    """

    count: int
    temperature: float
    selection: Selection = "together"
    radius: float | None = None
    window: Window = "circle"


@dataclass(frozen=True)
class Known:
    """A frame whose labels are known.

    Attributes:
        features: `(h, w, C)`.
        labels: `(h, w, K)`.
        windowed: whether `Matching.radius` applies to it.
    """

    features: Tensor
    labels: Tensor
    windowed: bool = True


def propagated(
    features: Tensor, context: Sequence[Known], matching: Matching, *, tile: int
) -> Tensor:
    """Return the labels of a frame, `(h, w, K)`.

    Affinities, dot products of features, are computed for squares of `tile` x `tile` cells at a
    time, and only with cells that are in the window of one of them: memory is tile² x (cells that
    they see in all frames) x 4 bytes, whatever the size of the frame. The result does not depend on
    `tile`, up to rounding.

    Args:
        features: `(h, w, C)`, normalised by the caller if dot products are to be cosines.
        context: frames of the same size, at least one; one that is there twice counts twice.
        matching: see there.
        tile: cells a side.
    """
    height, width = features.shape[:2]
    labels = features.new_empty(height, width, context[0].labels.shape[-1])
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            place = slice(top, min(top + tile, height)), slice(left, min(left + tile, width))
            labels[place] = labels_at(place, features, context, matching)
    return labels


def labels_at(
    place: tuple[slice, slice], features: Tensor, context: Sequence[Known], matching: Matching
) -> Tensor:
    """Return the labels of the cells at `place` alone, `(h', w', K)`; else as `propagated`."""
    queries = features[place]
    flat = queries.flatten(0, 1)
    near, outside = _neighbourhood(place, features.shape[:2], matching, queries.device)
    affinities, labels = [], []
    for known in context:
        where = near if known.windowed else (slice(None), slice(None))
        affinity = flat @ known.features[where].flatten(0, 1).T / matching.temperature
        if known.windowed and outside is not None:
            affinity.masked_fill_(outside, -torch.inf)
        affinities.append(affinity)
        labels.append(known.labels[where].flatten(0, 1))
    if matching.selection == "each":
        parts = [
            _weighed(affinity.softmax(1).topk(min(matching.count, affinity.shape[1]), 1), values)
            for affinity, values in zip(affinities, labels, strict=True)
        ]
        found = torch.stack(parts).mean(0)
    else:
        together = torch.cat(affinities, 1)
        values, indices = together.topk(min(matching.count, together.shape[1]), 1)
        found = _weighed((values.softmax(1), indices), torch.cat(labels))
    return found.view(*queries.shape[:2], -1)


def _weighed(chosen: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return the sum of the chosen labels `(keys, K)` by weights and indices `(queries, k)`."""
    weights, indices = chosen
    return torch.einsum("qk,qkl->ql", weights, labels[indices])


def _neighbourhood(
    place: tuple[slice, slice], shape: tuple[int, ...], matching: Matching, device: torch.device
) -> tuple[tuple[slice, slice], Tensor | None]:
    """Return the rectangle of cells that windows around `place` touch, and what is outside of each.

    The latter is `(queries, keys)` bool, or None if there are no windows.
    """
    if matching.radius is None:
        return (slice(None), slice(None)), None
    reach = int(matching.radius)
    near = tuple(
        slice(max(part.start - reach, 0), min(part.stop + reach, size))
        for part, size in zip(place, shape, strict=True)
    )
    rows, columns = (
        torch.arange(part.start, part.stop, device=device)[:, None]
        - torch.arange(around.start, around.stop, device=device)
        for part, around in zip(place, near, strict=True)
    )  # (h', keys' rows), (w', keys' columns)
    if matching.window == "square":
        far_rows, far_columns = rows.abs() > matching.radius, columns.abs() > matching.radius
        outside = far_rows[:, None, :, None] | far_columns[None, :, None, :]
    else:
        squares = rows.square()[:, None, :, None] + columns.square()[None, :, None, :]
        outside = squares >= matching.radius**2
    return (near[0], near[1]), outside.flatten(0, 1).flatten(1)
