"""Batches, the next one made while the present one is used."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

B = TypeVar("B")


class Prefetch(Iterator[B]):
    """Calls `batches` for consecutive indices, one ahead, in a single thread.

    Args:
        batches: a pure function of the index.
        indices: those that will be asked for, in order.
        ahead: whether to work ahead at all; the batches are the same either way.

    Attributes:
        waited: seconds that the caller has spent waiting.
    """

    def __init__(self, batches: Callable[[int], B], indices: range, *, ahead: bool = True) -> None:
        self.waited = 0.0
        self._batches = batches
        self._indices = iter(indices)
        self._thread = ThreadPoolExecutor(1, "prefetch") if ahead else None
        self._coming = self._submit()

    def __next__(self) -> B:
        start = time.monotonic()
        try:
            if self._coming is not None:
                batch = self._coming.result()
                self._coming = self._submit()
            else:
                batch = self._batches(next(self._indices))
        finally:
            self.waited += time.monotonic() - start
        return batch

    def __enter__(self) -> "Prefetch[B]":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _submit(self) -> "Future[B] | None":
        index = next(self._indices, None) if self._thread is not None else None
        if self._thread is None or index is None:
            return None
        return self._thread.submit(self._batches, index)
