"""Classes as what is read out at each pixel."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from representation.readout.dense import confusion
from representation.readout.dense.labels import IGNORE, LabelReader
from representation.readout.dense.layouts import Segmented
from representation.readout.dense.sources import Source
from selfflow.runs.errors import UserError


class Classes:
    """A data set's classes, see `representation.readout.dense.target.Target`.

    A tally is a confusion matrix `(C, C)`.
    """

    unknown = IGNORE
    lower_is_better = False

    def __init__(self, data: Segmented) -> None:
        self.names = data.classes
        self.outputs = len(data.classes)
        self.read_labels = LabelReader(data)

    def read(self, source: Source) -> Tensor:
        """Return a label map `(H, W)` uint8."""
        return self.read_labels(source)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the pixels that have a class; 0 where none has."""
        labels = labels.long()
        total = F.cross_entropy(outputs, labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp_min(1)

    def tally(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the confusion matrix of one image."""
        return confusion.confusion(outputs.argmax(0), labels, self.outputs, IGNORE)

    def score(self, totals: Tensor) -> Tensor:
        """Return the mean IoU of matrices `(..., C, C)`."""
        return confusion.mean_iou(totals)

    def scores(self, total: Tensor) -> Mapping[str, float]:
        """Return the scores of the matrix over the whole set."""
        if not total.any():
            raise UserError("no pixel of the test images has a class")
        return {
            "miou": float(confusion.mean_iou(total)),
            "mean_accuracy": float(confusion.mean_accuracy(total)),
            "pixel_accuracy": float(confusion.pixel_accuracy(total)),
        }

    def details(self, total: Tensor) -> Mapping[str, Any]:
        """Return each class's IoU and accuracy, null for one that is not there, and the matrix.

        The matrix has a row for each class, with the number of its pixels that were found to be of
        each class.
        """
        iou, accuracy = confusion.class_iou(total), confusion.class_accuracy(total)
        return {
            "iou": dict(zip(self.names, iou.tolist(), strict=True)),
            "accuracy": dict(zip(self.names, accuracy.tolist(), strict=True)),
            "absent": [
                name for name, value in zip(self.names, iou.isnan().tolist(), strict=True) if value
            ],
            "not_in_truth": [
                name
                for name, value in zip(self.names, accuracy.isnan().tolist(), strict=True)
                if value
            ],
            "confusion": {
                name: " ".join(map(str, row))
                for name, row in zip(self.names, total.tolist(), strict=True)
            },
        }
