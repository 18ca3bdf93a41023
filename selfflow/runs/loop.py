"""The training loop, the only one.

A task says what a step does; `fit` adds the learning rate, precision, accumulation, clipping,
the guard against bad steps, checkpoints, events and the bar. All it needs to go on exactly is in
the checkpoint, because batches and schedules are pure functions of the step.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from selfflow.runs.config import Config
from selfflow.runs.distributed import all_reduce_sum, average_gradients, rank, world_size
from selfflow.runs.errors import DivergedError, UserError
from selfflow.runs.interrupt import delayed_interrupt
from selfflow.runs.means import Means
from selfflow.runs.prefetch import Prefetch
from selfflow.runs.progress import Duration, console, format_duration, progress
from selfflow.runs.random_state import random_state, restore_random_state
from selfflow.runs.run import Run

B = TypeVar("B")
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


class LoopSettings(Config):
    """How long and how a training runs, whatever it trains."""

    steps: int = Field(1000, ge=1, description="steps in all")
    budget: Duration | None = Field(None, description="seconds after which it stops early")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast of the forward pass"
    )
    accumulate: int = Field(1, ge=1, description="batches a step")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    max_bad_steps: int = Field(20, ge=1, description="NaN steps in a row that end the training")
    log_every: int = Field(50, ge=1, description="steps")
    pictures_every: int = Field(1000, ge=0, description="steps; 0: none")
    save_every: int = Field(1000, ge=1, description="steps")
    save_seconds: Duration = Field(600.0, description="seconds after which it saves all the same")
    prefetch: bool = Field(True, description="make the next batch during the step")

    def describe(self, batch_size: int) -> str:
        """Return one line for a person: steps, effective batch, precision, budget."""
        count = self.accumulate * world_size()
        batch = f"{count} x {batch_size} = {count * batch_size}" if count > 1 else str(batch_size)
        budget = f", at most {format_duration(self.budget)}" if self.budget else ""
        return f"{self.steps} steps, batch {batch}, {self.precision}{budget}"


@dataclass
class Result:
    """How a training went, sessions before a resume included.

    Attributes:
        steps: steps done.
        seconds: time they took.
        waited: seconds of it that were spent waiting for data.
        skipped: steps without an update, for a loss or gradient that was not finite.
        means: the last recorded means of the step's scalars.
        budget_reached: whether the budget ended it, before the last step.
    """

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    means: dict[str, float] = field(default_factory=dict)
    budget_reached: bool = False


def fit(
    task: Task[B],
    batches: Callable[[int], B],
    *,
    optimizer: Optimizer,
    learning_rate: Callable[[int], float],
    settings: LoopSettings,
    run: Run | None = None,
    title: str = "Training",
    watch: Callable[[int], None] | None = None,
) -> Result:
    """Train until the last step or the end of the budget; continue where `run` was stopped.

    Args:
        task: what a step does.
        batches: a pure function of the batch's number. Step s takes numbers s·A·W to
            (s + 1)·A·W - 1, with A batches accumulated in each of W processes.
        optimizer: made by the caller for the parameters to be trained.
        learning_rate: a pure function of the step.
        settings: steps, precision, intervals.
        run: where checkpoints and events go; None keeps nothing.
        title: beside the bar.
        watch: called after every step with the number of steps done; what it raises ends the
            training (an evaluation that prunes a trial, for example).

    Raises:
        DivergedError: after `max_bad_steps` steps in a row without a finite loss and gradient.
        KeyboardInterrupt: after ^C, with the checkpoint written.
        UserError: if the run's checkpoint does not fit the task.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    earlier = _restore(run, task, optimizer) if run is not None else Result()
    result = replace(earlier)
    share = settings.accumulate * world_size()
    numbers = range(result.steps * share + rank(), settings.steps * share, world_size())
    log = run if rank() == 0 else None
    means, bad = Means(), 0

    with ExitStack() as stack:
        data = stack.enter_context(Prefetch(batches, numbers, ahead=settings.prefetch))
        interrupt = stack.enter_context(delayed_interrupt())
        bar = stack.enter_context(progress(title, settings.steps, result.steps))
        start = saved = time.monotonic()
        while not _ended(result, settings):
            step = result.steps
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
            terms = _update(task, data, step, optimizer, parameters, settings)

            result.steps += 1
            result.seconds = earlier.seconds + time.monotonic() - start
            result.waited = earlier.waited + data.waited
            if terms is not None:
                bad = 0
                task.after_step(step)
                means.add(terms)
                bar.advance(note=f"loss {terms['loss']:.4g}")
            else:
                bad += 1
                result.skipped += 1
                bar.advance(note="skipped")
            if bad == settings.max_bad_steps:
                raise DivergedError(
                    f"{title}: loss or gradient not finite in {bad} steps, up to {result.steps}"
                )
            if watch is not None:
                watch(result.steps)

            ended = _ended(result, settings)
            if means.count and (ended or _due(result.steps, settings.log_every)):
                result.means = means.take()
                if log is not None:
                    _record(log, result, learning_rate(step))
            if log is not None and _due(result.steps, settings.pictures_every):
                for name, picture in task.pictures().items():
                    log.writer.add_image(name, picture, result.steps)
            if interrupt.requested:
                _save(log, task, optimizer, result)
                where = f"; the same command continues {run.path}" if run is not None else ""
                console.print(f"Stopped after step {result.steps}{where}.", soft_wrap=True)
                raise KeyboardInterrupt
            late = time.monotonic() - saved > settings.save_seconds
            if ended or late or _due(result.steps, settings.save_every):
                _save(log, task, optimizer, result)
                saved = time.monotonic()
    return replace(result, budget_reached=result.steps < settings.steps)


def _update(
    task: Task[B],
    data: Iterator[B],
    step: int,
    optimizer: Optimizer,
    parameters: list[Tensor],
    settings: LoopSettings,
) -> dict[str, Tensor] | None:
    """Take one step and return its scalars; without a trace, and None, if they are not finite."""
    buffers = _buffers(task)
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    low = settings.precision == "bfloat16"
    for _ in range(settings.accumulate):
        batch = next(data)
        with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=low):
            terms = task.step(batch, step)
        (terms["loss"] / settings.accumulate).backward()
        for name, value in terms.items():
            part = value.detach().float() / settings.accumulate
            totals[name] = totals[name] + part if name in totals else part
    average_gradients(parameters)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not torch.isfinite(all_reduce_sum(totals["loss"]) + norm):
        for name, buffer in _buffers(task, copy=False).items():
            buffer.copy_(buffers[name])
        return None
    if settings.clip:
        clip_grads_with_norm_(parameters, settings.clip, norm)
    optimizer.step()
    return {**totals, "gradient_norm": norm}


def _buffers(task: Task[Any], *, copy: bool = True) -> dict[str, Tensor]:
    """Return the buffers of all networks: statistics, queues. A forward pass may change them."""
    return {
        f"{name}.{key}": buffer.clone() if copy else buffer
        for name, module in task.modules.items()
        if isinstance(module, nn.Module)
        for key, buffer in module.named_buffers()
    }


def _record(run: Run, result: Result, rate: float) -> None:
    """Write the step's scalars and how the loop itself is doing as events."""
    for name, value in result.means.items():
        run.writer.add_scalar(f"terms/{name}", value, result.steps)
    loop = {
        "learning_rate": rate,
        "skipped": result.skipped,
        "steps_per_second": result.steps / result.seconds,
        "share_of_time_waiting": result.waited / result.seconds,
    }
    for name, value in loop.items():
        run.writer.add_scalar(f"loop/{name}", value, result.steps)


def _ended(result: Result, settings: LoopSettings) -> bool:
    budget = settings.budget
    return result.steps >= settings.steps or (budget is not None and result.seconds > budget)


def _due(steps: int, every: int) -> bool:
    return every > 0 and steps % every == 0


def _save(run: Run | None, task: Task[Any], optimizer: Optimizer, result: Result) -> None:
    if run is None:
        return
    run.save_checkpoint(
        {
            "result": asdict(result),
            "modules": {name: module.state_dict() for name, module in task.modules.items()},
            "optimizer": optimizer.state_dict(),
            "random": random_state(),
        }
    )


def _restore(run: Run, task: Task[Any], optimizer: Optimizer) -> Result:
    """Go back to the run's checkpoint, if it has one."""
    state = run.load_checkpoint()
    if state is None:
        return Result()
    try:
        for name, module in task.modules.items():
            module.load_state_dict(state["modules"][name])
        optimizer.load_state_dict(state["optimizer"])
        restore_random_state(state["random"])
        result = Result(**state["result"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"{run.path / 'checkpoint.pt'} does not fit what is to be trained: {error}"
        ) from error
    run.first_step = result.steps
    return result
