"""What a trained detector finds in images, in their own pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from representation.readout.objects.detectors import Detector
from representation.readout.objects.example import Array, Example, Rle
from representation.readout.objects.settings import ObjectSettings
from representation.readout.objects.views import fitted, load, resized
from selfflow.runs.progress import track


@dataclass(frozen=True)
class Found:
    """What was found in one image, the surest first.

    Attributes:
        boxes: `(N, 4)`, in pixels of the image as it is stored.
        scores: `(N,)`.
        labels: `(N,)`, numbers of classes.
        masks: N of them as large as the image, or None.
        keypoints: `(N, K, 3)`: x, y and score, or None.
    """

    boxes: Array
    scores: Array
    labels: Array
    masks: tuple[Rle, ...] | None = None
    keypoints: Array | None = None


@torch.no_grad()
def find(
    detector: Detector, examples: Sequence[Example], settings: ObjectSettings, device: torch.device
) -> list[Found]:
    """Return what a detector finds in images, one at a time; it is left in evaluation mode."""
    detector.eval()
    found = []
    for example in track(examples, "Testing"):
        old = example.height, example.width
        size = fitted(*old, settings.test_short_side, settings.long_side)
        image = resized(load(example), size).to(device)
        found.append(in_own_pixels(detector([image])[0], size, old))
    return found


def in_own_pixels(raw: dict[str, Tensor], seen: tuple[int, int], own: tuple[int, int]) -> Found:
    """Return what was found in a view of size `seen` (H, W) in pixels of an image of size `own`.

    A mask is where its probability, pasted into the box, is above one half.
    """
    y_scale, x_scale = own[0] / seen[0], own[1] / seen[1]
    raw = {name: value.float().cpu() for name, value in raw.items()}
    order = raw["scores"].argsort(descending=True, stable=True)
    raw = {name: value[order] for name, value in raw.items()}
    boxes = raw["boxes"] * torch.tensor((x_scale, y_scale, x_scale, y_scale))
    masks = keypoints = None
    if "masks" in raw:
        pairs = zip(raw["masks"].split(1), boxes.split(1), strict=True)
        masks = tuple(pasted(mask, box, own) for mask, box in pairs)
    if "keypoints" in raw:
        points = raw["keypoints"].clone()
        points[..., :2] *= torch.tensor((x_scale, y_scale))
        points[..., 2] = raw["keypoints_scores"]
        keypoints = points.double().numpy()
    return Found(
        boxes.double().numpy(),
        raw["scores"].double().numpy(),
        raw["labels"].double().numpy(),
        masks,
        keypoints,
    )


def pasted(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Rle:
    """Return probabilities `(1, 1, h, w)` in a box `(1, 4)` as a mask of an image (H, W)."""
    whole = paste_masks_in_image(mask, box, size)[0, 0] > 0.5
    return dict(rle.encode(np.asfortranarray(whole.numpy(), np.uint8)))
