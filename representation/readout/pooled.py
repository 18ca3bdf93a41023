"""One vector for each image: the mean of its feature map."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder
from selfflow.io import read_image
from selfflow.runs.progress import track


def centre_crop(image: Tensor, short_side: int, crop: int) -> Tensor:
    """Return the middle of an image `(1, 3, H, W)`, `(1, 3, crop, crop)`.

    First it is resized, antialiased, to a short side; to `crop` where that is larger.
    """
    height, width = image.shape[-2:]
    scale = max(short_side, crop) / min(height, width)
    size = max(crop, round(height * scale)), max(crop, round(width * scale))
    resized = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    return resized[..., top : top + crop, left : left + crop].clamp(0, 1)


@torch.no_grad()
def pooled_features(
    encoder: Encoder,
    paths: Sequence[Path],
    *,
    short_side: int,
    crop: int,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Return the mean features of images, `(N, C)` float32 on the CPU."""
    starts = range(0, len(paths), batch_size)
    found = []
    for start in track(starts, "Features"):
        images = [
            torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].to(device) / 255
            for path in paths[start : start + batch_size]
        ]
        batch = torch.cat([centre_crop(image, short_side, crop) for image in images])
        found.append(encoder(batch).mean((2, 3)).float().cpu())
    return torch.cat(found)
