"""Pixel shuffle: images rolled round their edges, so that no place is always near the padding.

Pang et al., "Unsupervised Representation for Semantic Segmentation by Implicit Cycle-Attention
Contrastive Learning", AAAI 2022, equation 7. A network that pads can tell where in the image it is;
rolled by random distances, each place is as often at an edge as any other.
"""

import torch
from torch import Tensor

from selfflow.random import integers, purpose
from selfflow.runs.errors import UserError


def draw_shifts(keys: Tensor, height: int, width: int, step: int) -> Tensor:
    """Return random distances (a, b), down and to the right, in pixels, `(B, 2)` int64.

    Multiples of `step`, uniform on the torus; the paper's are of any number of pixels, by which a
    feature map of a coarser stride cannot be rolled back.

    Args:
        keys: one an image, `(B,)`.
        height: of the images, a multiple of `step`; else a ValueError.
        width: likewise.
        step: the coarsest stride of the network.
    """
    if height % step or width % step:
        raise ValueError(f"{height} x {width} pixels are not whole cells of {step} x {step}")
    down = integers(purpose(keys, "roll", 0), 0, height // step)
    right = integers(purpose(keys, "roll", 1), 0, width // step)
    return step * torch.stack((down, right), 1)


def roll(maps: Tensor, shifts: Tensor) -> Tensor:
    """Return maps `(B, C, H, W)` whose pixel (i, j) is ((i + a) mod H, (j + b) mod W) of before.

    Equation 7, each sample by its own (a, b), `shifts` `(B, 2)`. The negative of it rolls back.
    """
    for dimension, shift in ((2, shifts[:, 0]), (3, shifts[:, 1])):
        size = maps.shape[dimension]
        places = (torch.arange(size, device=maps.device) + shift[:, None]) % size
        shape = [len(maps), 1, 1, 1]
        shape[dimension] = size
        maps = maps.gather(dimension, places.view(shape).expand_as(maps))
    return maps


def check_whole_cells(height: int, width: int, stride: int, setting: str) -> None:
    """Raise a UserError unless views consist of whole cells; `setting` turns rolling off."""
    if height % stride or width % stride:
        raise UserError(
            f"views of {height} x {width} pixels cannot be rolled by whole cells of {stride}; take "
            f"multiples of {stride}, or {setting}=false"
        )
