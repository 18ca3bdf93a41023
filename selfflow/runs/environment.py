"""What a run was made with."""

import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("selfflow", "torch", "torchvision", "numpy", "opencv-python-headless", "optuna")


def environment(kind: str, seed: int | None) -> dict[str, Any]:
    """Return command, seed, versions and machine of a run that starts now."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "kind": kind,
        "started": now(),
        "command": command(),
        "seed": seed,
        "versions": {**versions, "python": platform.python_version()},
        "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def command() -> list[str]:
    """Return the command as it was typed; of `python -m selfflow`, `selfflow` and what follows."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return [name, *sys.argv[1:]]


def now() -> str:
    """Return the time of day as people and programs read it, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
