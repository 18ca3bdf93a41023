"""Flow without training: zero flow and two classical methods of OpenCV.

They are called like a network, on batches, so that everything that takes a model takes them too;
`iterations` means nothing to them.
"""

from abc import ABC, abstractmethod

import cv2
import numpy as np
import torch
from torch import Tensor

from selfflow.flow import check_images
from selfflow.runs.errors import UserError


class Classical(ABC):
    """A method that maps two frames to a flow, one pair at a time."""

    @abstractmethod
    def calculate(self, frame1: np.ndarray, frame2: np.ndarray) -> np.ndarray:
        """Return the flow `(H, W, 2)` in pixels between two grey frames `(H, W)` uint8."""

    def __call__(self, image1: Tensor, image2: Tensor, iterations: int = 0) -> Tensor:
        """Return the flow from `image1` to `image2` `(B, 3, H, W)`, `(B, 2, H, W)` float32."""
        pairs = zip(_grey_frames(image1), _grey_frames(image2), strict=True)
        flows = np.stack([self.calculate(*pair) for pair in pairs]).astype(np.float32)
        return torch.from_numpy(flows).permute(0, 3, 1, 2).contiguous().to(image1.device)

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow, `(B, 2, H, W)` each."""
        return self(image1, image2), self(image2, image1)


class Zero(Classical):
    """No motion anywhere: what every other method must beat."""

    def calculate(self, frame1: np.ndarray, frame2: np.ndarray) -> np.ndarray:
        """Return zeros `(H, W, 2)`."""
        return np.zeros((*frame1.shape, 2), np.float32)


class Dis(Classical):
    """Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset."""

    SMALLEST_SIDE = 12

    def calculate(self, frame1: np.ndarray, frame2: np.ndarray) -> np.ndarray:
        """Return the flow `(H, W, 2)`; UserError below 12 pixels."""
        height, width = frame1.shape
        if min(height, width) < self.SMALLEST_SIDE:
            raise UserError(f"dis needs frames of at least 12x12 pixels, got {height}x{width}")
        # A new one for each pair: it starts from the flow of the pair that it saw before.
        method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return np.asarray(method.calc(frame1, frame2, np.zeros((height, width, 2), np.float32)))


class Farneback(Classical):
    """Polynomial expansion (Farnebäck, SCIA 2003), with the parameters of OpenCV's tutorial."""

    def calculate(self, frame1: np.ndarray, frame2: np.ndarray) -> np.ndarray:
        """Return the flow `(H, W, 2)`."""
        flow = cv2.calcOpticalFlowFarneback(
            frame1,
            frame2,
            np.zeros((*frame1.shape, 2), np.float32),
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
        return np.asarray(flow)


def _grey_frames(images: Tensor) -> list[np.ndarray]:
    """Return images `(B, 3, H, W)` in [0, 1] as grey frames `(H, W)` uint8."""
    check_images(images)
    bytes_ = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    frames = bytes_.permute(0, 2, 3, 1).cpu().numpy()
    return [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
