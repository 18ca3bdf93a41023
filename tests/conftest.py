"""What the tests of all packages need: steady examples, and processes that work together."""

import multiprocessing
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

# How long one example takes says more about what else the machine is doing; examples are the same
# in every run, so that a test that passes goes on passing.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def work_together(work: Callable[..., None], *arguments: Any, count: int = 2) -> list[int | None]:
    """Call `work(environment, *arguments)` in `count` processes; return their exit codes.

    `environment` is what torchrun would set. One server imports torch and forks for all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["selfflow.cli"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    processes = [
        context.Process(target=work, args=(together | {"RANK": str(rank)}, *arguments))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    return [process.exitcode for process in processes]


@pytest.fixture
def processes() -> Callable[..., list[int | None]]:
    """The function of this file that starts processes."""
    return work_together
