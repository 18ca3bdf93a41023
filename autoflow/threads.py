"""Work on the CPU in threads of our own, each of which computes alone.

torch's threads share every single operation. Rendering takes thousands of small ones, and threads
that wait for one another after each lose more than they gain, above all on a busy machine.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier, local
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_here = local()


def map_in_threads(function: Callable[..., T], *arguments: Iterable[Any], count: int) -> list[T]:
    """Return what `function` makes of the arguments, in order, computed in `count` threads.

    Inside of such a thread everything is computed in it alone.
    """
    if count == 1 or getattr(_here, "is_worker", False):
        return [function(*each) for each in zip(*arguments, strict=True)]
    return list(_workers(count).map(function, *arguments))


@lru_cache(maxsize=1)
def _workers(count: int) -> ThreadPoolExecutor:
    """Return threads in which torch uses one thread, without changing what it uses elsewhere."""
    before = torch.get_num_threads()
    executor = ThreadPoolExecutor(count, "render")
    started = Barrier(count)

    def start() -> None:
        started.wait()
        _here.is_worker = True
        # OpenMP keeps this number by thread. A thread's first question makes torch set it to the
        # last one set anywhere, so that comes first.
        torch.get_num_threads()
        torch.set_num_threads(1)

    for future in [executor.submit(start) for _ in range(count)]:
        future.result()
    torch.set_num_threads(before)
    return executor


# Threads do not survive a fork.
os.register_at_fork(after_in_child=_workers.cache_clear)
