"""One process or several: what the loop, run folders and masked means need to know.

torchrun starts the processes; commands that train join them with `process_group`. In a process
that is alone, everything here does nothing.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from selfflow.runs.errors import SharedError, UserError
from selfflow.runs.progress import console

T = TypeVar("T")


def launched() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "MASTER_ADDR" in os.environ


def active() -> bool:
    """Return whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's number; 0 writes files and talks."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """Return how many processes work together."""
    return dist.get_world_size() if active() else 1


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, if it did; only the first of them talks.

    Standard output of the others is dropped, and what `console` says; their errors are not. Raises
    UserError where another process has gone.
    """
    if not launched() or active():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    quiet = console.quiet
    try:
        if rank() == 0:
            yield
        else:
            console.quiet = True
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                yield
    except RuntimeError as error:
        if not re.search("gloo.*connection", str(error), re.IGNORECASE):
            raise
        raise UserError("another process has ended; what it said tells why") from error
    finally:
        console.quiet = quiet
    # Not after an error: others may wait for this process, and leaving a group properly would wait
    # for them. This process ends, and torchrun ends the others.
    dist.destroy_process_group()


def from_first(work: Callable[[], T]) -> T:
    """Return what `work` returns in the first process, the only one to do it, in all of them.

    What it raises is raised in all of them (of a UserError, the message: SharedError). Both are
    sent, so they are to be plain values.
    """
    if not active():
        return work()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = SharedError(str(error))
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def together(work: Callable[[], T]) -> T:
    """Return what `work` returns in this process; where it fails in any, all fail.

    For what every process does by itself before they work together, such as opening the data: one
    that failed alone would leave the others waiting, and what is wrong is to be said once.

    Args:
        work: it must not exchange anything with other processes.

    Raises:
        SharedError: in all processes, with what the first process that failed says; what is no
            UserError is raised as it is where it was raised.
    """
    if not active():
        return work()
    result: T | None = None
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    problems: list[str | None] = [None] * world_size()
    dist.all_gather_object(problems, None if failure is None else str(failure))
    if failure is not None and not isinstance(failure, UserError):
        raise failure
    first = next(((n, said) for n, said in enumerate(problems) if said is not None), None)
    if first is not None:
        number, said = first
        raise SharedError(said if None not in problems else f"process {number}: {said}")
    return cast(T, result)


def largest(*values: float) -> list[float]:
    """Return the largest of each value over all processes, so that all decide the same."""
    if not active():
        return list(values)
    found = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over all processes; gradients do not flow through it."""
    if not active():
        return tensor.detach()
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    """Concatenation over processes, whose gradient is the sum of what all of them send back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        total = all_reduce_sum(gradient)
        return total.tensor_split(world_size())[rank()]


def gather(tensor: Tensor) -> Tensor:
    """Return the processes' tensors `(N, ...)`, of one size, as one `(N · processes, ...)`.

    In the order of the processes. Gradients flow back to the process that a part came from, the sum
    of what all make of it: all of them are to take the backward pass.
    """
    if not active():
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


def mean_scalars(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of each scalar over all processes, which have the same names."""
    if not active():
        return scalars
    means = all_reduce_sum(torch.stack(list(scalars.values()))) / world_size()
    return dict(zip(scalars, means, strict=True))


@torch.no_grad()
def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Give all processes the first one's values, in place."""
    if active():
        for tensor in tensors:
            values = tensor.contiguous()  # weights may be in channels-last memory
            dist.broadcast(values, 0)
            tensor.copy_(values)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all processes.

    One reduction of all gradients after the backward pass, in place of a wrapper around each
    network: tasks hold several networks, of which some have no gradient.
    """
    if not active():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    total = all_reduce_sum(torch.cat([g.flatten() for g in gradients])) / world_size()
    for gradient, mean in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
