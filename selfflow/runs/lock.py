"""One process at a time, of all that use a folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfflow.runs.errors import UserError
from selfflow.runs.progress import console

_PAUSE = 0.2  # seconds between two attempts


@contextmanager
def locked(file: Path, waiting: str, until: float | None = None) -> Iterator[bool]:
    """Hold the lock of a file, after the process that holds it; say `waiting` meanwhile.

    The lock goes with its process, however that ends.

    Args:
        file: made if there is none, and never removed.
        waiting: what is waited for.
        until: `time.time()` after which the block is run all the same; None: no limit.

    Yields:
        Whether the lock is held.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a")
    except OSError as error:
        raise UserError(f"cannot use {file.parent}: {error.strerror}") from error
    with handle:
        held = _try(handle.fileno())
        if not held:
            console.print(waiting, markup=False, soft_wrap=True)
        while not held and (until is None or time.time() < until):
            time.sleep(_PAUSE)
            held = _try(handle.fileno())
        yield held


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
