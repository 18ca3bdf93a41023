"""From a device's name to a device that is there."""

import re

import torch

from selfflow.runs.errors import UserError


def pick_device(name: str | None = "auto") -> torch.device:
    """Return the device "cpu", "cuda" or "cuda:N"; "auto" (or None) is the GPU if there is one."""
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", str(name))
    if match is None:
        raise UserError(f"unknown device {name!r}; known are auto, cpu, cuda, cuda:0, cuda:1, ...")
    if str(name).startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= count:
            raise UserError(f"there is no device {name} here ({count} GPUs can be used)")
    return torch.device(str(name))
