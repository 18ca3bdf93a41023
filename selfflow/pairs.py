"""The batch that flow networks are trained on."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from selfflow.flow import check_flow, check_images, check_mask


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames with what is known about the motion between them.

    Attributes:
        image1: first frames, `(B, 3, H, W)` in [0, 1].
        image2: second frames, likewise.
        flow: flow from frame 1 to frame 2, `(B, 2, H, W)` pixels, or None where there is no label.
        valid: where `flow` is known, `(B, 1, H, W)` bool, or None without `flow`.
        visible: which pixels of frame 1 are seen in frame 2, `(B, 1, H, W)` bool, or None.
        foreground: which pixels of frame 1 show an object that moves by itself (KITTI 2015),
            `(B, 1, H, W)` bool, or None.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor | None = None
    valid: Tensor | None = None
    visible: Tensor | None = None
    foreground: Tensor | None = None

    def __post_init__(self) -> None:
        check_images(self.image1, "image1")
        check_images(self.image2, "image2")
        if self.flow is not None:
            check_flow(self.flow)
        for name in ("valid", "visible", "foreground"):
            mask = getattr(self, name)
            if mask is not None:
                check_mask(mask, name)

    def __len__(self) -> int:
        return len(self.image1)

    def to(self, device: torch.device | str) -> "Pairs":
        """Return the same pairs on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {k: v.to(device, non_blocking=True) for k, v in tensors.items() if v is not None}
        return replace(self, **moved)
