"""From a device's name to a device that is there."""

import os
import re

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
