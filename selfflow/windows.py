"""Unlabelled crops together with what surrounds them, so that flow may leave a crop.

SMURF's full-image warping (Stone et al., CVPR 2021): the network sees a crop, but its flow warps a
larger window of the other frame, so that motion out of the crop is still learned from. Theirs
works for a batch of one; here every sample has its own map into its own frame, of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from selfflow.augment import Augmentation, draw_maps, positions
from selfflow.flow import inside, sample
from selfflow.frames import FrameBatches
from selfflow.photometry import augment_colors


@dataclass(frozen=True)
class Windows:
    """A batch of pairs of crops with their surroundings.

    Attributes:
        seen1: crops of frame 1 as the network sees them, colours changed, `(B, 3, h, w)`.
        seen2: of frame 2, likewise.
        around1: the crop of frame 1 and what surrounds it, colours as they are,
            `(B, 3, h + 2 rows, w + 2 columns)`.
        around2: of frame 2, likewise.
        known1: which pixels of `around1` lie inside the frame, `(B, 1, ...)` bool.
        known2: of `around2`, likewise.
        margin: rows and columns around the crop, on each side.
    """

    seen1: Tensor
    seen2: Tensor
    around1: Tensor
    around2: Tensor
    known1: Tensor
    known2: Tensor
    margin: tuple[int, int]

    @property
    def plain1(self) -> Tensor:
        """The crop of frame 1, colours as they are, `(B, 3, h, w)`."""
        return self._inside(self.around1)

    @property
    def plain2(self) -> Tensor:
        """The crop of frame 2, likewise."""
        return self._inside(self.around2)

    def first(self) -> "Windows":
        """Return the first pair alone."""
        return self._with({name: value[:1] for name, value in self._tensors().items()})

    def to(self, device: torch.device | str) -> "Windows":
        """Return the same batch on another device."""
        return self._with({name: value.to(device) for name, value in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "margin"}

    def _with(self, tensors: dict[str, Tensor]) -> "Windows":
        return Windows(**tensors, margin=self.margin)

    def _inside(self, around: Tensor) -> Tensor:
        rows, columns = self.margin
        height, width = around.shape[-2:]
        return around[..., rows : height - rows, columns : width - columns]


@dataclass(frozen=True)
class WindowBatches:
    """Endless augmented batches of a target's pairs; batch `step` depends on seed and step alone.

    Attributes:
        frames: which pairs, in which order; its crop is not used.
        augmentation: geometry is shared by crop and surroundings, colours are for `seen` alone.
        crop: height and width that the network sees.
        margin: rows and columns around it, on each side.
    """

    frames: FrameBatches
    augmentation: Augmentation
    crop: tuple[int, int]
    margin: tuple[int, int]

    def __call__(self, step: int) -> Windows:
        """Return batch number `step`."""
        keys = self.frames.keys(step).to(self.frames.device)
        pairs = self.frames.addresses(step)
        frames = self.frames.cache.frames(
            [(pair.sequence, index) for pair in pairs for index in pair[1:]]
        )
        read = [
            self._read(frames[2 * number : 2 * number + 2], keys[number : number + 1])
            for number in range(len(pairs))
        ]
        around1, known1, around2, known2 = (torch.cat(part) for part in zip(*read, strict=True))
        plain = Windows(around1, around2, around1, around2, known1, known2, self.margin)
        colors = self.augmentation.colors
        seen1, seen2 = augment_colors(plain.plain1, plain.plain2, keys, colors)
        return replace(plain, seen1=seen1, seen2=seen2)

    def _read(self, frames: Sequence[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return window and known pixels of both frames of one pair, each a batch of one."""
        height, width = frames[0].shape[-2:]
        maps = draw_maps(key, self.augmentation.geometry, (height, width), self.crop)
        rows, columns = self.margin
        size = (self.crop[0] + 2 * rows, self.crop[1] + 2 * columns)
        parts = []
        for frame, map_ in zip(frames, maps, strict=True):
            at = positions(map_, *size, origin=(-columns, -rows))
            # Rounding must not lose the frame's border, where crops often end.
            at = torch.where((at - at.round()).abs() < 1e-3, at.round(), at)
            values = frame[None].to(key.device).float() / 255
            parts += [sample(values, at), inside(at, height, width)]
        return parts[0], parts[1], parts[2], parts[3]
