import threading
import time

import pytest

from selfflow.runs.prefetch import Prefetch


@pytest.mark.parametrize("ahead", [True, False])
def test_batches_come_in_order_and_end(ahead: bool) -> None:
    with Prefetch(lambda n: n * n, range(2, 6), ahead=ahead) as data:
        assert list(data) == [4, 9, 16, 25]


def test_one_batch_is_made_ahead_in_another_thread() -> None:
    made: list[tuple[int, str]] = []
    second = threading.Event()

    def batch(number: int) -> int:
        made.append((number, threading.current_thread().name))
        if number == 1:
            second.set()
        return number

    with Prefetch(batch, range(10)) as data:
        assert next(data) == 0
        assert second.wait(10)  # made before it is asked for
        time.sleep(0.02)
        assert [number for number, _ in made] == [0, 1]
    assert threading.current_thread().name not in {name for _, name in made}


def test_waiting_is_measured() -> None:
    def slow(number: int) -> int:
        time.sleep(0.05)
        return number

    with Prefetch(slow, range(2)) as data:
        time.sleep(0.4)
        next(data)
        assert data.waited < 0.04
    with Prefetch(slow, range(2), ahead=False) as data:
        next(data)
        assert data.waited >= 0.05
