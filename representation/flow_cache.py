"""The flow between frames: computed when it is needed, or once and then read from disk."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.stopwatch import Stopwatch
from selfflow.flow import resize_flow
from selfflow.models import FlowModel
from selfflow.runs.run import atomic_write


class FlowSource(Protocol):
    """Gives the flow of frame pairs in both directions."""

    def __call__(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow `(B, 2, H, W)` of images `(B, 3, H, W)` in [0, 1]."""
        ...


class ComputedFlow:
    """The flow as a frozen network computes it, without gradient.

    Args:
        model: the network.
        iterations: its updates, if it is a RAFT.
        scale: size of the frames that the network sees, in that of the frames; their flow is
            enlarged. At 0.5 it takes a quarter of the time, and of the memory where it is kept.

    Attributes:
        time: that the network has taken so far.
    """

    def __init__(self, model: FlowModel, iterations: int = 12, scale: float = 1.0) -> None:
        self.model = model
        self.iterations = iterations
        self.scale = scale
        self.time = Stopwatch()

    def __call__(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow."""
        return enlarged(self.small(image1, image2), image1)

    @torch.no_grad()
    def small(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Return forward and backward flow, `(B, 4, h, w)` in pixels of the size it is seen at."""
        size = self.size(image1)
        if size != tuple(image1.shape[-2:]):
            image1, image2 = (
                F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
                for image in (image1, image2)
            )
        with self.time.running(image1.device):
            both = self.model.bidirectional(image1, image2, self.iterations)
            return torch.cat(both, 1).float()

    def size(self, image: Tensor) -> tuple[int, int]:
        """Return the (height, width) at which the network sees images `(..., H, W)`."""
        height, width = (max(1, round(self.scale * side)) for side in image.shape[-2:])
        return height, width

    def fingerprint(self) -> str:
        """Return a digest that two sources share if they compute the same."""
        what = f"{type(self.model).__qualname__} {self.iterations} {self.scale}"
        digest = hashlib.sha256(what.encode())
        if isinstance(self.model, nn.Module):
            for name, value in sorted(self.model.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def enlarged(flows: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the forward and the backward flow of `flows` `(B, 4, h, w)` at an image's size."""
    forward, backward = (resize_flow(flow, *image.shape[-2:]) for flow in flows.split(2, 1))
    return forward, backward


class FlowCache:
    """A folder that keeps the flow of each pair of frames, eight bytes a pixel for both ways.

    Pixels of the size at which the network sees the frames: at half their size that is two bytes a
    pixel of the frame. One file a pair, under a name made from the network's weights and the pixels
    of both frames: another network, frame size or film never finds the wrong flow, and runs can
    share the folder. Float16 has 11 binary digits: flow of 64 to 128 px is kept to 1/32 px. What
    comes back is the rounded flow also the first time, so that a run does not depend on what was
    there before.

    Args:
        source: what computes flow that is not there yet.
        folder: made when the first flow is kept.
    """

    def __init__(self, source: ComputedFlow, folder: Path) -> None:
        self.source = source
        self.folder = folder / source.fingerprint()

    def __call__(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow, on the device of the images."""
        paths = [self._path(a, b) for a, b in zip(image1, image2, strict=True)]
        size = self.source.size(image1)
        found = [read_flow_file(path, size) for path in paths]
        missing = [i for i, flow in enumerate(found) if flow is None]
        if missing:
            both = self.source.small(image1[missing], image2[missing])
            for i, flow in zip(missing, both.half().cpu(), strict=True):
                found[i] = flow
                with atomic_write(paths[i]) as temporary, temporary.open("wb") as file:
                    np.save(file, flow.numpy())
        flows = torch.stack([flow for flow in found if flow is not None])
        return enlarged(flows.to(image1.device).float(), image1)

    def _path(self, image1: Tensor, image2: Tensor) -> Path:
        # Frames come from 8 bits a colour: in bytes they are the same on every device.
        pixels = (torch.stack((image1, image2)) * 255).round().byte().cpu()
        digest = hashlib.sha256(str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes())
        name = digest.hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"


def read_flow_file(path: Path, size: tuple[int, ...]) -> Tensor | None:
    """Return the flows `(4, H, W)` in float16 of a file; None if it is missing or damaged."""
    try:
        flow = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if flow.shape != (4, *size) or flow.dtype != np.float16:
        return None
    return torch.from_numpy(flow)
