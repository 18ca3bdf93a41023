import time

import torch

from selfflow.runs.cost import peak_memory, seconds_of

CPU = torch.device("cpu")


def test_the_time_of_work_is_measured():
    assert 0.05 <= seconds_of(lambda: time.sleep(0.05), CPU) < 1


def test_the_peak_covers_what_was_used():
    before = peak_memory(CPU)
    used = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_memory(CPU) >= before
    assert peak_memory(CPU) > used.nbytes
