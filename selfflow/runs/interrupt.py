"""Stopping between two steps, not in the middle of one."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfflow.runs.distributed import rank
from selfflow.runs.progress import console


class Interrupt:
    """Whether the user has asked to stop."""

    requested = False


@contextmanager
def delayed_interrupt() -> Iterator[Interrupt]:
    """Turn ^C and SIGTERM into a request; a second one takes effect at once.

    Signals reach the main thread alone; in any other thread nothing is requested.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        # Not through the console: its lock may be held by the code that was interrupted.
        if rank() == 0 and not console.quiet:
            os.write(2, b"\nStopping after this step; once more to stop at once.\n")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, request)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
