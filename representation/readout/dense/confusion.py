"""Segmentation's scores, all from one confusion matrix over the whole set."""

import torch
from torch import Tensor


def confusion(found: Tensor, truth: Tensor, classes: int, ignore: int) -> Tensor:
    """Return how often each class was taken for each, `(classes, classes)` int64, truth by row.

    Args:
        found: classes, of any shape.
        truth: of the same shape; where it is `ignore` nothing is counted.
        classes: how many there are.
        ignore: number that stands for no class.
    """
    known = truth != ignore
    pairs = truth[known].long() * classes + found[known].long()
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def class_iou(matrix: Tensor) -> Tensor:
    """Return each class's intersection over union `(..., C)` of matrices `(..., C, C)`.

    NaN for a class that is neither in the truth nor was found.
    """
    matrix = matrix.double()
    hits = matrix.diagonal(dim1=-2, dim2=-1)
    return hits / (matrix.sum(-1) + matrix.sum(-2) - hits)


def class_accuracy(matrix: Tensor) -> Tensor:
    """Return the share of each class's pixels that was found `(..., C)`; NaN if it has none."""
    matrix = matrix.double()
    return matrix.diagonal(dim1=-2, dim2=-1) / matrix.sum(-1)


def mean_iou(matrix: Tensor) -> Tensor:
    """Return the mean over classes that are in the truth or were found, `(...)`."""
    return class_iou(matrix).nanmean(-1)


def mean_accuracy(matrix: Tensor) -> Tensor:
    """Return the mean accuracy over classes that are in the truth, `(...)`."""
    return class_accuracy(matrix).nanmean(-1)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Return the share of all pixels whose class was found, `(...)`."""
    matrix = matrix.double()
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1) / matrix.sum((-2, -1))
