"""Where in other images is what a pixel shows? Similarity to its features, as heat.

As figures 2 and 5 of VADeR (Pinheiro et al., NeurIPS 2020).
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder, read_features
from representation.pictures.matches import dot
from selfflow.io import Bytes

FOUND, ASKED = (255, 255, 255), (255, 64, 255)  # colours of dots
OPACITY = 0.6  # of the heat upon the image
COLDEST = 0.5  # quantile of the similarities that is blue, and all below


class Place(NamedTuple):
    """The pixel of an image that is most similar: x, y, and the cosine of its features."""

    x: int
    y: int
    similarity: float


@torch.no_grad()
def feature_at(features: Tensor, encoder: Encoder, pixel: tuple[float, float]) -> Tensor:
    """Return the unit vector of a map `(1, C, h, w)` at a pixel (x, y) of its image, `(C,)`."""
    position = torch.tensor(pixel, device=features.device).view(1, 2, 1, 1)
    found = read_features(features.float(), position, encoder.stride, encoder.offset)
    return F.normalize(found[0, :, 0, 0], dim=0)


@torch.no_grad()
def similarity(features: Tensor, vector: Tensor) -> Tensor:
    """Return the cosines of a map `(1, C, h, w)` to a unit vector, `(1, 1, h, w)`."""
    unit = F.normalize(features.float(), dim=1)
    return (unit * vector.view(1, -1, 1, 1)).sum(1, keepdim=True)


def best_place(similar: Tensor) -> Place:
    """Return the most similar pixel of `(1, 1, H, W)`."""
    number = int(similar.flatten().argmax())
    row, column = divmod(number, similar.shape[-1])
    return Place(column, row, similar.flatten()[number].item())


def heat_range(similar: list[Tensor]) -> tuple[float, float]:
    """Return which similarities, of some maps, are coldest and hottest in their pictures."""
    values = torch.cat([each.flatten() for each in similar])
    return values.quantile(COLDEST).item(), values.max().item()


def heat(image: Bytes, similar: Tensor, coldest: float, hottest: float) -> Bytes:
    """Return a grey image `(H, W, 3)` under the heat of similarities `(1, 1, H, W)`."""
    extent = max(hottest - coldest, 1e-6)
    level = ((similar[0, 0] - coldest) / extent).clamp(0, 1).cpu().numpy()
    warm = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(warm, OPACITY, grey, 1 - OPACITY, 0), np.uint8)


def marked(image: Bytes, place: tuple[float, float], colour: tuple[int, ...]) -> Bytes:
    """Return an image `(H, W, 3)` with a dot at (x, y)."""
    canvas = np.ascontiguousarray(image).copy()
    dot(canvas, [round(place[0]), round(place[1])], colour, radius=4)
    return canvas
