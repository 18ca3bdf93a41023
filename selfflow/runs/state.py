"""Everything that a training changes: what a checkpoint holds, and a resume brings back."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfflow.runs.average import WeightAverage
from selfflow.runs.distributed import copy_from_first, from_first, world_size
from selfflow.runs.errors import UserError
from selfflow.runs.random_state import random_state, restore_random_state
from selfflow.runs.run import Run
from selfflow.runs.task import Result, Task


class TrainingState:
    """A task's networks, their optimiser and the average of the trained weights.

    Attributes:
        parameters: what the optimiser trains.
        average: of the parameters, or None.
    """

    def __init__(self, task: Task[Any], optimizer: Optimizer, decay: float = 0.0) -> None:
        self.task, self.optimizer = task, optimizer
        self.parameters: list[Tensor] = [p for g in optimizer.param_groups for p in g["params"]]
        self.average = WeightAverage(self.parameters, decay) if decay else None

    def buffers(self) -> dict[str, Tensor]:
        """Return all networks' buffers: statistics, queues. A forward pass may change them."""
        return {
            f"{name}.{key}": buffer
            for name, module in self.task.modules.items()
            if isinstance(module, nn.Module)
            for key, buffer in module.named_buffers()
        }

    def is_finite(self) -> bool:
        """Return whether no trained weight is NaN or infinite."""
        norms = torch.stack(torch._foreach_norm(self.parameters, torch.inf))
        return bool(norms.isfinite().all())

    def share(self) -> None:
        """Give all processes what the first one starts from."""
        modules = [each for each in self.task.modules.values() if isinstance(each, nn.Module)]
        copy_from_first(weight for module in modules for weight in module.parameters())
        copy_from_first(self.buffers().values())
        if self.average is not None:
            copy_from_first(self.average.weights)

    def save(self, run: Run, result: Result, batches: int) -> bool:
        """Replace the run's checkpoint, unless a weight is not finite; return whether it was done.

        `batches` are those of a step, in all processes together.
        """
        if not self.is_finite():
            return False
        average = self.average
        run.save_checkpoint(
            {
                "result": asdict(result),
                "modules": {name: each.state_dict() for name, each in self.task.modules.items()},
                "optimizer": self.optimizer.state_dict(),
                "average": None if average is None else average.state_dict(),
                "random": random_state(),
                "batches": batches,
            }
        )
        return True

    def restore(self, run: Run, batches: int) -> Result | None:
        """Go back to the run's checkpoint, if it has one.

        Raises:
            UserError: it is one of something else, or was made with another number of batches a
                step, so that going on would skip or repeat some.
        """
        if not from_first(run.has_checkpoint):
            return None
        state = run.load_checkpoint()
        if state is None:
            raise UserError(f"{run.checkpoint} is not seen by all processes; share its disk")
        if state.get("batches", batches) != batches:
            raise UserError(
                f"{run.path} was trained with {state['batches']} batches a step, now there are "
                f"{batches} ({world_size()} processes); change their number or loop.accumulate"
            )
        try:
            for name, module in self.task.modules.items():
                module.load_state_dict(state["modules"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            restore_random_state(state["random"])
            result = Result(**state["result"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise UserError(
                f"{run.checkpoint} does not fit what is to be trained: {error}"
            ) from error
        run.first_step = result.steps
        return result
