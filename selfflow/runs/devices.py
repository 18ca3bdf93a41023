"""From a device's name to a device that is there, and to one that works at its best."""

import ctypes
import os
import re
import sys

import torch

from selfflow.runs.distributed import launched
from selfflow.runs.errors import UserError


def pick_device(name: str | None = "auto") -> torch.device:
    """Return the device "cpu", "cuda" or "cuda:N"; "auto" (or None) is the GPU if there is one.

    Of several processes that torchrun started on a machine, each takes the GPU of its own number.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name in (None, "auto"):
        name = "cuda" if gpus else "cpu"
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", str(name))
    if match is None:
        raise UserError(f"unknown device {name!r}; known are auto, cpu, cuda, cuda:0, cuda:1, ...")
    if name == "cuda" and launched():
        return _own_gpu(gpus)
    if str(name).startswith("cuda") and int(match[1] or 0) >= gpus:
        raise UserError(f"there is no device {name} here ({gpus} GPUs can be used)")
    if match[1] and launched() and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        raise UserError(f"{name} cannot be shared by several processes; say --device cuda")
    return torch.device(str(name))


def _own_gpu(gpus: int) -> torch.device:
    number = int(os.environ.get("LOCAL_RANK", 0))
    if number >= gpus:
        raise UserError(
            f"process {number} has no GPU of its own ({gpus} can be used); start fewer, "
            "or say --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def keep_freed_memory(largest: int = 2**30) -> bool:
    """Let the C library keep blocks up to `largest` bytes for reuse; return whether it does.

    glibc maps each large tensor anew and returns it to the system when it is freed, so that every
    step pays for the page faults of its memory: up to 12,000 of them in a training step of RAFT
    small (4 pairs of 128x160, 6 iterations), whose CPU time was 6 % longer than with this on the
    mean of nine runs (0.36 s to 0.34 s), 25 % in the worst. Peak memory is the same to 1 %.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    if mallopt is None:  # not glibc
        return False
    return bool(mallopt(mmap_threshold, largest) and mallopt(trim_threshold, 2**31 - 1))
