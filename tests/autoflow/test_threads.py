import threading
import time

import torch

from autoflow.threads import map_in_threads


def test_results_come_in_order():
    def slow_first(number: int, other: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number + other

    assert map_in_threads(slow_first, range(5), range(5), count=2) == [0, 2, 4, 6, 8]
    assert map_in_threads(slow_first, range(5), range(5), count=1) == [0, 2, 4, 6, 8]


def test_threads_compute_alone_and_leave_torch_as_it_is():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        used = map_in_threads(lambda _: torch.get_num_threads(), range(4), count=2)
        assert used == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert elsewhere == [2]
    finally:
        torch.set_num_threads(before)


def test_work_inside_of_a_thread_stays_in_it():
    def nested(number: int) -> list[str]:
        return map_in_threads(lambda _: threading.current_thread().name, range(2), count=2)

    for names in map_in_threads(nested, range(4), count=2):
        assert len(set(names)) == 1
