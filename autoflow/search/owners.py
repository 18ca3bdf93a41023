"""Who runs trials: a name for each process, and whether it is still there."""

import fcntl
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_FOLDER = "workers"
_PATIENCE = 10.0


def new_owner() -> str:
    """Return a name for this process: its machine, its number there, and something at random."""
    return f"{_machine()}.{os.getpid()}.{secrets.token_hex(3)}"


def _machine() -> str:
    """Return a name of this machine as it has run since it was started.

    After a restart, or for a namesake elsewhere, a lock that nobody holds says nothing.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()}-{boot.read_text()[:8]}" if boot.exists() else platform.node()


@contextmanager
def registered(path: Path, owner: str) -> Iterator[None]:
    """Hold the lock of `owner` in a run folder; it goes with the process, however that ends."""
    file = _lock_file(path, owner)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def is_gone(path: Path, owner: str) -> bool:
    """Return whether `owner`, which used this run folder on this machine, has ended unasked.

    False where that cannot be known: on other machines, or for a process of another run folder.
    """
    if not owner.startswith(_machine() + "."):
        return False
    try:
        with _lock_file(path, owner).open("r+") as file:
            return _try_lock(file)
    except FileNotFoundError:
        return False


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Let one process of a run folder after the other do something.

    It spares work and is no promise: who has waited for long goes ahead, since on some file
    systems locks do not work, or outlive their holders.
    """
    file = path / _FOLDER / "turn.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        end = time.monotonic() + _PATIENCE
        while not _try_lock(held) and time.monotonic() < end:
            time.sleep(0.01)
        yield


def _lock_file(path: Path, owner: str) -> Path:
    return path / _FOLDER / f"{owner}.lock"


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
