"""Results of readouts as files, without measuring anything."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from representation.readout import READOUTS
from selfflow.runs.config import flatten, nested
from selfflow.runs.run import to_json


def make_result(
    folder: Path,
    *,
    task: str = "propagation",
    protocol: str = "crw",
    scores: dict[str, float] | None = None,
    seed: int = 0,
    quick: bool = False,
    encoder: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    started: str = "2026-01-01",
) -> Path:
    """Write a run's result, in its protocol's own setting but for `settings`; return the folder."""
    kind = READOUTS[task]
    values = {**kind.protocols[protocol], **(kind.quick if quick else {})}
    named = {"encoder": "random", "data": "davis", "protocol": protocol, "quick": quick}
    usual = flatten(kind.Settings.model_validate(nested({**values, **named, "seed": seed})))
    about = {"name": "random", "architecture": "resnet18", "stride": 8, "channels": 512}
    about |= {"decoder": "none", "weights": f"weights of seed {seed}"}
    result = {
        "task": task,
        "protocol": protocol,
        "quick": quick,
        "seed": seed,
        "scores": scores or {"J&F": 0.5, "J": 0.4, "F": 0.6},
        "encoder": about | (encoder or {}),
        "data": data or {"name": "davis2017", "objects": 61},
        "settings": json.loads(to_json(usual)) | (settings or {}),
        "details": {},
        "environment": {"started": started},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(copy.deepcopy(result)))
    return folder


@pytest.fixture
def result_in() -> Callable[..., Path]:
    """The function of this file that writes a result."""
    return make_result
