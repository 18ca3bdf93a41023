"""Tasks that look at another task while it is trained, and change nothing in it."""

from typing import Any

from torch import Tensor

from selfflow.runs.loop import Task


class Watcher(Task[Any]):
    """A task that passes everything on to another one; a subclass adds what it sees.

    Watchers may watch watchers.

    Args:
        task: what is trained.
    """

    def __init__(self, task: Task[Any]) -> None:
        self.task = task
        self.modules = task.modules

    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take the task's step."""
        return self.task.step(batch, step)

    def after_step(self, step: int) -> None:
        """Do what the task does after a step."""
        self.task.after_step(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the task's pictures."""
        return self.task.pictures()

    def figures(self) -> dict[str, float]:
        """Return the task's figures."""
        return self.task.figures()

    def note(self) -> str:
        """Return what the task notes beside the bar."""
        return self.task.note()
