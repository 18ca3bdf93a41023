"""The online probe: every so many steps, what a few labelled images say of the features."""

import time
from typing import Any

from torch import Tensor

from representation.probe.images import LabelledImages
from representation.probe.measure import probe
from representation.probe.settings import ProbeSettings
from representation.snapshot import Snapshot
from representation.watcher import Watcher
from selfflow.runs.distributed import rank
from selfflow.runs.loop import Task
from selfflow.runs.progress import console


class ProbeWatch(Watcher):
    """A task whose encoder is probed before the first step and every so many steps.

    In a copy, so that the training does not depend on it. Of several processes the first one looks,
    and the others wait for it at the next step.

    Args:
        task: what is trained.
        snapshot: of its encoder.
        images: with labels.
        settings: of the probe.
    """

    def __init__(
        self, task: Task[Any], snapshot: Snapshot, images: LabelledImages, settings: ProbeSettings
    ) -> None:
        super().__init__(task)
        self.snapshot, self.images, self.settings = snapshot, images, settings
        self._found: dict[str, float] = {}
        self._news: dict[str, float] = {}

    def look(self, step: int) -> None:
        """Probe the encoder as it is after so many steps, and say what was found."""
        if rank() != 0:
            return
        start = time.monotonic()
        self._found = self._news = probe(self.snapshot(), self.images, self.settings)
        said = ", ".join(
            f"{name.removeprefix('probe_')} {value:.3f}" for name, value in self._found.items()
        )
        seconds = time.monotonic() - start
        console.print(f"Probe after step {step}: {said} ({seconds:.1f} s)", soft_wrap=True)

    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take the task's step; before the first one, look."""
        if step == 0 and not self._found:
            self.look(0)
        return self.task.step(batch, step)

    def after_step(self, step: int) -> None:
        """Do what the task does after a step, and look now and then."""
        self.task.after_step(step)
        if (step + 1) % self.settings.every == 0:
            self.look(step + 1)

    def figures(self) -> dict[str, float]:
        """Return what was found since this was last asked, with the task's figures."""
        news, self._news = self._news, {}
        return {**self.task.figures(), **news}

    def note(self) -> str:
        """Return what was found last."""
        found = next(reversed(self._found.items()), None)
        said = "" if found is None else f"probe {found[0].removeprefix('probe_')} {found[1]:.3f}"
        return ", ".join(filter(None, (self.task.note(), said)))
