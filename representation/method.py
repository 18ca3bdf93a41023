"""What the pre-training methods share: the batch they start from, and what one has to offer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from representation.encoder import Encoder
from representation.settings import PretrainSettings
from selfflow.flow import check_flow, check_images
from selfflow.runs.loop import Task


@dataclass(frozen=True)
class Frames:
    """A batch of frame pairs, from which a method makes its views.

    Attributes:
        image1: `(B, 3, H, W)` in [0, 1], whole frames.
        image2: likewise.
        keys: one a pair, `(B,)` int64, on the CPU, for everything random that is done to it.
        sizes: height and width of each pair's frames, `(B, 2)`, on the CPU; what lies further right
            and down is padding, because films differ in size.
        forward: flow from frame 1 to frame 2, `(B, 2, H, W)` pixels, or None if not asked for.
        backward: flow from frame 2 to frame 1, likewise.
    """

    image1: Tensor
    image2: Tensor
    keys: Tensor
    sizes: Tensor
    forward: Tensor | None = None
    backward: Tensor | None = None

    def __post_init__(self) -> None:
        check_images(self.image1, "image1")
        check_images(self.image2, "image2")
        for flow in (self.forward, self.backward):
            if flow is not None:
                check_flow(flow)


class Method(Task[Any], Protocol):
    """A pre-training method: a task for `selfflow.runs.loop.fit`, in a file of its own.

    `step` returns scalars to log: "loss" is minimised, "spread" is watched for collapse.
    `after_step` updates what the optimiser doesn't: a target network, a queue.

    Attributes:
        Settings: its configuration: what all methods share and a table of its own.
        device_defaults: its own additions to `settings.DEVICE_DEFAULTS`.
        uses_flow: whether `prepare` needs the flow between the frames; on the class, too, where
            no setting can change it.
        uses_pairs: whether it looks at the second frame of a pair. Without, both frames are the
            same one, and the target may be a folder of unrelated images.
        encoder: what is kept in the end.
        modules: everything that a checkpoint holds.
    """

    Settings: ClassVar[type[PretrainSettings]]
    device_defaults: ClassVar[Mapping[str, Mapping[str, Any]]]
    uses_flow: bool = True
    uses_pairs: bool = True
    encoder: Encoder

    def __init__(self, settings: Any, device: torch.device) -> None: ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what the optimiser trains, see `representation.optimizer`."""
        ...

    def prepare(self, frames: Frames) -> Any:
        """Return a batch for `step`: views and what is known of them; a pure function."""
        ...
