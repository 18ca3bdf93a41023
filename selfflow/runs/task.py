"""What is trained, as the loop sees it, and how a training went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

from torch import Tensor

B_contra = TypeVar("B_contra", contravariant=True)


class Stateful(Protocol):
    """What a checkpoint can hold: a network, a queue, ..."""

    def state_dict(self) -> Any:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go back to a state."""


class Task(Protocol[B_contra]):
    """What one training does in a step. Inherit from it for the empty defaults.

    Attributes:
        modules: everything that changes in training, by name: network, target network, queue.
    """

    modules: Mapping[str, Stateful]

    def step(self, batch: B_contra, step: int) -> dict[str, Tensor]:
        """Return the step's scalars; "loss" is minimised, the others are recorded."""
        ...

    def after_step(self, step: int) -> None:
        """Follow the optimiser's update, with a target network for example."""
        return

    def pictures(self) -> dict[str, Tensor]:
        """Return pictures `(3, H, W)` in [0, 1] of the last step, to be recorded."""
        return {}

    def figures(self) -> dict[str, float]:
        """Return what was found out beside the steps since this was last asked, to be recorded."""
        return {}

    def note(self) -> str:
        """Return a few words for the bar, beside the loss."""
        return ""


class Wish(Enum):
    """What someone who watches a training may ask for after a step."""

    CHECKPOINT = auto()
    STOP = auto()


@dataclass
class Result:
    """How a training went, sessions before a resume included.

    Attributes:
        steps: steps done.
        seconds: time they took.
        waited: seconds of it that were spent waiting for data.
        skipped: steps without an update, for a loss or gradient that was not finite.
        means: the last recorded means of the step's scalars.
        figures: the last recorded figures of the task, see `Task.figures`.
        budget_reached: whether the budget, or who watched it, ended it before the last step.
    """

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    means: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    budget_reached: bool = False
