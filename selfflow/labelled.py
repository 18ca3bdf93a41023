"""Pairs of frames with known flow: how labels are stored, and pairs that are read on demand."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfflow.io import (
    Bool,
    Bytes,
    Float,
    read_flo,
    read_flo5,
    read_kitti_png,
    read_mask,
    read_pfm,
)
from selfflow.pairs import Pairs
from selfflow.runs.errors import UserError
from selfflow.sequences import FlowLabel, Sequence

_UNKNOWN = 1e9  # Middlebury marks unknown flow by larger values


@dataclass(frozen=True)
class LabelledPair:
    """A pair of frames with known flow, not yet read.

    Attributes:
        name: sequence and frame.
        part: the part of its dataset, such as `clean`; empty if there is only one.
        load: reads it, as `Pairs` of batch size 1.
    """

    name: str
    part: str
    load: Callable[[], Pairs]


def flo_label(path: Path) -> FlowLabel:
    """Read a `.flo` file; NaN, infinite and values beyond 1e9 (Middlebury) are unknown."""
    return _known_where_finite(read_flo(path))


def flo5_label(path: Path) -> FlowLabel:
    """Read a `.flo5` file; NaN is unknown."""
    return _known_where_finite(read_flo5(path))


def spring_label(path: Path) -> FlowLabel:
    """Read Spring's flow, which has twice the frames' resolution but is in the frames' pixels.

    Every other row and column is taken, the first one first, as the benchmark's own loader does:
    a mean of four would make up motions at edges.
    """
    return _known_where_finite(np.ascontiguousarray(read_flo5(path)[::2, ::2]))


def pfm_label(path: Path) -> FlowLabel:
    """Read a `.pfm` file of three channels, the last of them empty (FlyingThings3D)."""
    values = read_pfm(path)
    if values.ndim != 3:
        raise UserError(f"{path}: one channel; flow needs the three of a PF file")
    return _known_where_finite(np.ascontiguousarray(values[..., :2]))


def png_label(path: Path) -> FlowLabel:
    """Read a KITTI PNG (HD1K's too)."""
    return FlowLabel(*read_kitti_png(path), None)


# Flow in files of any origin, by suffix.
LABEL_READERS: Mapping[str, Callable[[Path], FlowLabel]] = {
    ".flo": flo_label,
    ".flo5": flo5_label,
    ".pfm": pfm_label,
    ".png": png_label,
}


def _known_where_finite(flow: Float) -> FlowLabel:
    valid = np.asarray((np.abs(flow) < _UNKNOWN).all(axis=-1))  # False for NaN as well
    return FlowLabel(np.where(valid[..., None], flow, 0).astype(np.float32), valid, None)


def sintel_label(flow: Path, occlusion: Path, invalid: Path) -> FlowLabel:
    """Read Sintel's flow with its masks, which are white where occluded and where invalid.

    A pixel is visible if it is not marked as occluded and lands inside the frame: Sintel's masks
    do not mark what leaves it. Missing masks leave `visible` unknown and everything valid.
    """
    values, valid = flo_label(flow)[:2]
    if invalid.is_file():
        valid = valid & ~_matching(read_mask(invalid), values, invalid)
    if not occlusion.is_file():
        return FlowLabel(values, valid, None)
    occluded = _matching(read_mask(occlusion), values, occlusion)
    return FlowLabel(values, valid, ~occluded & _lands_inside(values))


def kitti_label(occ: Path, noc: Path, objects: Path) -> FlowLabel:
    """Read KITTI's flow: `flow_occ` knows all labelled pixels, `flow_noc` the visible ones.

    Without `flow_noc`, which pixels are visible is unknown; without the map of objects (2015's
    `obj_map`, 0 on what does not move by itself), which belong to the foreground.
    """
    flow, valid = read_kitti_png(occ)
    visible = _matching(read_kitti_png(noc)[1], flow, noc) if noc.is_file() else None
    foreground = _matching(read_mask(objects), flow, objects) if objects.is_file() else None
    return FlowLabel(flow, valid, visible, foreground)


def _matching(mask: Bool, flow: Float, path: Path) -> Bool:
    if mask.shape != flow.shape[:2]:
        raise UserError(
            f"{path}: {mask.shape[1]}x{mask.shape[0]}, but its flow is "
            f"{flow.shape[1]}x{flow.shape[0]}"
        )
    return mask


def _lands_inside(flow: Float) -> Bool:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside: Bool = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside


def image_tensor(image: Bytes) -> Tensor:
    """Return `(H, W, 3)` uint8 as `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous() / 255


def mask_tensor(mask: Bool) -> Tensor:
    """Return `(H, W)` bool as `(1, 1, H, W)`."""
    return torch.from_numpy(mask)[None, None]


def flow_tensor(flow: Float) -> Tensor:
    """Return `(H, W, 2)` flow as `(1, 2, H, W)`."""
    return torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous()


def load_pair(sequence: Sequence, index: int) -> Pairs:
    """Read frames `index` and `index + 1` of a sequence with their flow, as a batch of one."""
    label = sequence.flow(index)
    if label is None:
        raise ValueError(f"the flow from frame {index} of {sequence.name} is not known")
    if label.flow.shape[:2] != sequence.size:
        raise UserError(
            f"{sequence.name}: the flow from frame {index} is "
            f"{label.flow.shape[1]}x{label.flow.shape[0]}, "
            f"the frames are {sequence.size[1]}x{sequence.size[0]}"
        )
    return Pairs(
        image_tensor(sequence.frame(index)),
        image_tensor(sequence.frame(index + 1)),
        flow_tensor(label.flow),
        mask_tensor(label.valid),
        None if label.visible is None else mask_tensor(label.visible),
        None if label.foreground is None else mask_tensor(label.foreground),
    )


def pairs_of(sequences: Iterable[Sequence], part: str = "") -> list[LabelledPair]:
    """Return the pairs of neighbours whose flow is known."""
    prefix = f"{part}/" if part else ""
    return [
        LabelledPair(
            f"{prefix}{sequence.name}/{sequence.frame_name(index)}",
            part,
            lambda sequence=sequence, index=index: load_pair(sequence, index),  # type: ignore[misc]
        )
        for sequence in sequences
        for index in sequence.labelled
    ]
