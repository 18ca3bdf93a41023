"""What work takes: seconds and memory, measured on a piece of it before the whole begins."""

import resource
import sys
import time
from collections.abc import Callable

import torch


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long `work` takes, until the device is done with it."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far: the GPU's, or on the CPU the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
