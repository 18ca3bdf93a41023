"""What is read out at each pixel, as training and test see it: classes, or depth."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from representation.readout.dense.sources import Source


class Target(Protocol):
    """What is read out of features at each pixel.

    Attributes:
        outputs: numbers that a head has for each pixel.
        unknown: stands for no value in a label map.
        lower_is_better: whether the score that counts is an error.
    """

    outputs: int
    unknown: int
    lower_is_better: bool

    def read(self, source: Source) -> Tensor:
        """Return a label map, `(H, W)`, or raise UserError."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of outputs `(B, outputs, ...)` at labels `(B, ...)` that are known.

        Zero where none is known.
        """
        ...

    def tally(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return sums over one image's pixels, of outputs `(outputs, H, W)`, labels `(H, W)`.

        Those of several images may be added up; scores are made of the total.
        """
        ...

    def score(self, totals: Tensor) -> Tensor:
        """Return the score that counts of totals `(..., *tally)`."""
        ...

    def scores(self, total: Tensor) -> Mapping[str, float]:
        """Return all scores, the one that counts first; UserError if no label was known."""
        ...

    def details(self, total: Tensor) -> Mapping[str, Any]:
        """Return more about the scores, per class say."""
        ...
