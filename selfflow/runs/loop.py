"""The training loop, the only one.

A task says what a step does; `fit` adds the learning rate, precision, accumulation, clipping,
the guard against bad steps, checkpoints, events and the bar. All it needs to go on exactly is in
the checkpoint, because batches and schedules are pure functions of the step.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from selfflow.runs.config import Config
from selfflow.runs.devices import keep_freed_memory
from selfflow.runs.distributed import average_gradients, largest, mean_scalars, rank, world_size
from selfflow.runs.errors import DivergedError
from selfflow.runs.interrupt import delayed_interrupt
from selfflow.runs.means import Means
from selfflow.runs.prefetch import Prefetch
from selfflow.runs.progress import Duration, console, format_duration, progress
from selfflow.runs.run import Run
from selfflow.runs.state import TrainingState
from selfflow.runs.task import Result, Stateful, Task, Wish
from selfflow.runs.wording import counted

__all__ = ["LoopSettings", "Result", "Stateful", "Task", "Wish", "fit"]

B = TypeVar("B")


class LoopSettings(Config):
    """How long and how a training runs, whatever it trains."""

    steps: int = Field(1000, ge=1, description="steps in all")
    budget: Duration | None = Field(None, description="seconds after which it stops early")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast of the forward pass"
    )
    accumulate: int = Field(1, ge=1, description="batches a step")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the weights' average, which is kept; 0: the last"
    )
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
        return f"{counted(self.steps, 'step')}, batch {batch}, {self.precision}{budget}"


def fit(
    task: Task[B],
    batches: Callable[[int], B],
    *,
    optimizer: Optimizer,
    learning_rate: Callable[[int], float],
    settings: LoopSettings,
    run: Run | None = None,
    title: str = "Training",
    watch: Callable[[int], Wish | None] | None = None,
) -> Result:
    """Train until the last step or the end of the budget; continue where `run` was stopped.

    Args:
        task: what a step does.
        batches: a pure function of the batch's number. Step s takes numbers s·A·W to
            (s + 1)·A·W - 1, with A batches accumulated in each of W processes.
        optimizer: made by the caller for the parameters to be trained.
        learning_rate: a pure function of the step; a parameter group with an "lr_scale" takes it
            times that.
        settings: steps, precision, intervals.
        run: where checkpoints and events go; None keeps nothing.
        title: beside the bar.
        watch: called after every step with the number of steps done; what it raises ends the
            training (an evaluation that prunes a trial, for example). It may wish, the same in
            all processes, for a checkpoint, or for an end with one, like that of the budget.

    With `settings.ema` the network holds the average of its weights in the end, while `watch` and
    checkpoints, from which more steps go on, see the last ones.

    Raises:
        DivergedError: after `max_bad_steps` steps in a row without a finite loss and gradient, or
            if the weights are not finite in the end.
        KeyboardInterrupt: after ^C, with the checkpoint written.
        UserError: if the run's checkpoint does not fit the task.
    """
    keep_freed_memory()
    state = TrainingState(task, optimizer, settings.ema)
    share = settings.accumulate * world_size()
    restored = state.restore(run, share) if run is not None else None
    state.share()
    earlier = restored or Result()
    result = replace(earlier)
    numbers = range(result.steps * share + rank(), settings.steps * share, world_size())
    log = run if run is not None and run.events and rank() == 0 else None
    kept = None if restored is None else restored.steps
    means, bad = Means(), 0

    with ExitStack() as stack:
        data = stack.enter_context(Prefetch(batches, numbers, ahead=settings.prefetch))
        interrupt = stack.enter_context(delayed_interrupt())
        bar = stack.enter_context(progress(title, settings.steps, result.steps))
        start = saved = time.monotonic()
        ended = _ended(result, settings)
        while not ended:
            step = result.steps
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step) * group.get("lr_scale", 1.0)
            terms = _update(state, data, step, settings)

            result.steps += 1
            if terms is not None:
                bad = 0
                task.after_step(step)
                if state.average is not None:
                    state.average.update(result.steps - result.skipped)
                means.add(terms)
                notes = (f"loss {terms['loss']:.4g}", task.note())
                bar.advance(note=", ".join(filter(None, notes)))
            else:
                bad += 1
                result.skipped += 1
                bar.advance(note="skipped")
            if bad == settings.max_bad_steps:
                raise _diverged(f"{title}: {bad} steps", result, run, kept)
            wish = None if watch is None else watch(result.steps)

            elapsed, asked_to_stop = largest(time.monotonic() - start, interrupt.requested)
            result.seconds = earlier.seconds + elapsed
            result.waited = earlier.waited + data.waited
            ended = wish is Wish.STOP or _ended(result, settings)
            if means.count and (ended or _due(result.steps, settings.log_every)):
                result.means, figures = means.take(), task.figures()
                result.figures = {**result.figures, **figures}
                if log is not None:
                    _record(log, result, learning_rate(step), figures)
            if log is not None and _due(result.steps, settings.pictures_every):
                for name, picture in task.pictures().items():
                    log.writer.add_image(name, picture, result.steps)
            late = wish is not None or time.monotonic() - saved > settings.save_seconds
            if ended or late or asked_to_stop or _due(result.steps, settings.save_every):
                # After a bad step the weights may be to blame. What is lost is done again.
                if run is not None and bad == 0 and state.save(run, result, share):
                    kept = result.steps
                saved = time.monotonic()
            if asked_to_stop:
                where = f"; the same command continues {run.path}" if run is not None else ""
                console.print(f"Stopped after step {result.steps}{where}.", soft_wrap=True)
                raise KeyboardInterrupt
    if not state.is_finite():
        raise _diverged(f"{title}: weights", result, run, kept)
    if state.average is not None:
        state.average.apply()
    return replace(result, budget_reached=result.steps < settings.steps)


def _update(
    state: TrainingState, data: Iterator[Any], step: int, settings: LoopSettings
) -> dict[str, Tensor] | None:
    """Take one step and return its scalars; without a trace, and None, if they are not finite."""
    task, parameters = state.task, state.parameters
    buffers = {name: buffer.clone() for name, buffer in state.buffers().items()}
    state.optimizer.zero_grad(set_to_none=True)
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
    totals = mean_scalars(totals)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not torch.isfinite(totals["loss"] + norm):
        for name, buffer in state.buffers().items():
            buffer.copy_(buffers[name])
        return None
    if settings.clip:
        clip_grads_with_norm_(parameters, settings.clip, norm)
    state.optimizer.step()
    return {**totals, "gradient_norm": norm}


def _diverged(what: str, result: Result, run: Run | None, kept: int | None) -> DivergedError:
    if run is None:
        where = ""
    elif kept is None:
        where = "; there is no checkpoint yet"
    else:
        where = f"; the last good checkpoint, after step {kept}, is {run.checkpoint}"
    return DivergedError(f"{what} without finite values, up to step {result.steps}{where}")


def _record(run: Run, result: Result, rate: float, figures: dict[str, float]) -> None:
    """Write the step's scalars, the task's figures and how the loop itself is doing as events."""
    loop = {
        "learning_rate": rate,
        "skipped": result.skipped,
        "steps_per_second": result.steps / result.seconds,
        "share_of_time_waiting": result.waited / result.seconds,
    }
    for group, values in {"terms": result.means, "figures": figures, "loop": loop}.items():
        for name, value in values.items():
            run.writer.add_scalar(f"{group}/{name}", value, result.steps)


def _ended(result: Result, settings: LoopSettings) -> bool:
    budget = settings.budget
    return result.steps >= settings.steps or (budget is not None and result.seconds > budget)


def _due(steps: int, every: int) -> bool:
    return every > 0 and steps % every == 0
