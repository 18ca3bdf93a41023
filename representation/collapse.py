"""Watching for collapse: a network that maps everything to the same vector has learned nothing."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from representation.watcher import Watcher
from selfflow.runs.loop import Task
from selfflow.runs.progress import console


def spread(vectors: Tensor) -> Tensor:
    """Return how far normalised vectors `(B, C, H, W)` are spread out, a scalar from 0 to 1.

    The standard deviation of each channel of the unit vectors over batch and positions, times
    sqrt(C), in quadratic mean: sqrt(1 - |mean vector|²). 1 where the vectors point in all
    directions alike, 0 where all of them are the same.
    """
    unit = F.normalize(vectors.detach().float(), dim=1)
    return (1 - unit.mean((0, 2, 3)).square().sum()).clamp_min(0).sqrt()


class CollapseWatch(Watcher):
    """A task that says so when its "spread" has fallen under a threshold.

    Args:
        task: what is trained; everything is passed on to it.
        threshold: from 0 to 1.
        every: how many updates lie between two looks, each of which waits for the device.
    """

    def __init__(self, task: Task[Any], threshold: float, every: int = 50) -> None:
        super().__init__(task)
        self.threshold = threshold
        self.every = every
        self.warned = False
        self._spread: Tensor | None = None

    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take the task's step."""
        terms = self.task.step(batch, step)
        self._spread = terms.get("spread")
        return terms

    def after_step(self, step: int) -> None:
        """Do what the task does after a step, and look at the spread now and then."""
        self.task.after_step(step)
        if self.warned or self._spread is None or (step + 1) % self.every:
            return
        found = self._spread.item()
        if found < self.threshold:
            self.warned = True
            console.print(
                f"Warning: after step {step + 1} the projections are nearly the same everywhere "
                f"(spread {found:.3f}, below {self.threshold:g}): the features are collapsing. "
                "A smaller learning rate or a higher momentum of the target may help.",
                soft_wrap=True,
            )
