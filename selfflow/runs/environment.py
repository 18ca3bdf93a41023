"""What a run was made with."""

import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# scheme://user:password@host, and scheme://host?password=...
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@\s]*(@)|([?&]passw(?:or)?d=)[^&\s]*")
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
        "commit": commit(),
        "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit() -> str | None:
    """Return the commit of the code's own git checkout, "+" behind it if files were changed.

    None where the code is installed, or there is no git.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    call = ["git", "-C", str(folder)]
    try:
        head = _output([*call, "rev-parse", "HEAD"])
        changed = _output([*call, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return head + "+" * bool(changed)


def _output(call: list[str]) -> str:
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def command() -> list[str]:
    """Return the command as it was typed, but for passwords in URLs, which are left out.

    Of `python -m selfflow` it is `selfflow` and what follows.
    """
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return [name, *(_PASSWORD.sub(r"\1\2\3", each) for each in sys.argv[1:])]


def now() -> str:
    """Return the time of day as people and programs read it, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
