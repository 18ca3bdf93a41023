"""How long pieces of work take on a device that is not waited for."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the time of pieces of work.

    On a GPU the work is timed by events between its kernels, so that nothing waits; kernels that
    another thread sends in between count with it. A piece counts when it is done.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Time what is done on a device in the block."""
        if device.type == "cuda":
            events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            stream = torch.cuda.current_stream(device)
            events[0].record(stream)
            yield
            events[1].record(stream)
            self._pending.append(events)
            return
        start = time.monotonic()
        yield
        self._seconds += time.monotonic() - start

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        while self._pending and self._pending[0][1].query():
            start, end = self._pending.popleft()
            self._seconds += start.elapsed_time(end) / 1000
        return self._seconds
