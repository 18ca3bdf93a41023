"""How fast a training is, and what its time goes into."""

import time
from typing import Any

from torch import Tensor

from representation.stopwatch import Stopwatch
from representation.watcher import Watcher
from selfflow.runs.loop import Task


class Throughput(Watcher):
    """A task that tells its images a second, and the share of time in the flow network.

    The share is that of the time in which flow is being computed. Batches are made ahead, so that
    this may be while a step is computed; flow that is read from disk takes none.

    Args:
        task: what is trained.
        images: frames, or pairs of them, in a step, in all processes together.
        batches: of a step, in this process: `task.step` is called so often.
        flow: runs while the flow network does; None without one.
    """

    def __init__(
        self, task: Task[Any], images: int, batches: int = 1, flow: Stopwatch | None = None
    ) -> None:
        super().__init__(task)
        self.images, self.flow = images / batches, flow
        self._calls, self._start, self._flow_start = 0, time.monotonic(), self._in_flow()
        self._valid: Tensor | None = None

    def _in_flow(self) -> float:
        return 0.0 if self.flow is None else self.flow.seconds

    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take the task's step, and count it."""
        terms = self.task.step(batch, step)
        self._calls += 1
        self._valid = terms.get("valid")
        return terms

    def _measured(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._start, 1e-9)
        found = {"images_per_second": self._calls * self.images / seconds}
        if self.flow is not None:
            found["share_of_time_in_flow"] = (self._in_flow() - self._flow_start) / seconds
        return found

    def figures(self) -> dict[str, float]:
        """Return the figures since this was last asked, with the task's."""
        found = {**self.task.figures(), **self._measured()}
        self._calls, self._start, self._flow_start = 0, time.monotonic(), self._in_flow()
        return found

    def note(self) -> str:
        """Return images a second, the share of time in flow and that of valid places."""
        found = self._measured()
        parts = [f"{found['images_per_second']:.3g} images/s"]
        if self.flow is not None:
            parts.append(f"{found['share_of_time_in_flow']:.0%} in flow")
        if self._valid is not None:
            parts.append(f"{self._valid.item():.0%} valid")
        return ", ".join(filter(None, (*parts, self.task.note())))
