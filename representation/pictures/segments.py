"""Features in a few clusters, as segments of their images: MultiSiam's figure 6."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder
from representation.kmeans import kmeans
from representation.pictures.colours import at_pixels, unit_cells
from representation.pictures.matches import hues
from selfflow.io import Bytes
from selfflow.runs.errors import UserError

CELLS = 20_000  # that are clustered, at most
OPACITY = 0.5  # of the segments upon the image


@torch.no_grad()
def segment_centroids(maps: Sequence[Tensor], count: int) -> Tensor:
    """Return the centroids of `count` clusters, by K-means with the cosine, `(count, C)`.

    Args:
        maps: `(B, C, h, w)` each; of many cells some, evenly spread, are clustered.
        count: K.

    Raises:
        UserError: there are fewer cells than clusters.
    """
    cells = torch.cat([unit_cells(each) for each in maps])
    if count > len(cells):
        raise UserError(f"{count} segments are more than the {len(cells)} feature cells")
    kept = torch.linspace(0, len(cells) - 1, min(CELLS, len(cells))).long().to(cells.device)
    return kmeans(cells[kept][None], count).centroids[0]


@torch.no_grad()
def segments(features: Tensor, centroids: Tensor, encoder: Encoder, size: Sequence[int]) -> Tensor:
    """Return the cluster of each pixel of an image of a size, `(H, W)`.

    Of a map `(1, C, h, w)` cosines to the centroids `(K, C)` are interpolated: where cells lie it
    is the nearest centroid's, and borders between them are smooth.
    """
    unit = F.normalize(features.float(), dim=1)
    similar = torch.einsum("bchw,kc->bkhw", unit, F.normalize(centroids, dim=1))
    return at_pixels(similar, encoder, size)[0].argmax(0)


def segments_picture(image: Bytes, labels: Tensor, count: int) -> Bytes:
    """Return an image `(H, W, 3)` under the colours of its segments `(H, W)`, their borders white.

    Args:
        image: what is below.
        labels: from 0 to `count` - 1.
        count: of colours.
    """
    numbers = labels.cpu().numpy()
    colours = np.array(hues(count), np.uint8)[numbers]
    picture = np.asarray(cv2.addWeighted(colours, OPACITY, image, 1 - OPACITY, 0), np.uint8)
    border = np.zeros(numbers.shape, bool)
    border[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    border[1:] |= numbers[1:] != numbers[:-1]
    picture[border] = 255
    return picture
