"""The result of a readout: one JSON file that says all that decided the numbers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from representation.readout.settings import ReadoutSettings
from representation.readout.task import Outcome
from selfflow.runs.config import flatten
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run, read_table, to_json

RESULT = "result.json"
ENCODER = "encoder.json"


def write_result(
    run: Run,
    task: str,
    settings: ReadoutSettings,
    encoder: Mapping[str, Any],
    outcome: Outcome,
    seconds: float,
    made_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `result.json` into the run's folder and return what it holds.

    Keys: task, protocol, quick, seed, scores (the one that counts first), encoder, data, settings
    (every one, by dotted key), details, seconds (of this session), environment (command, versions,
    commit of the code, as `selfflow.runs.environment` has it when the session starts).
    """
    bad = [name for name, value in outcome.scores.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f"{run.path}: {', '.join(bad)} came out as no finite number")
    result = {
        "task": task,
        "protocol": settings.protocol,
        "quick": settings.quick,
        "seed": settings.seed,
        "scores": dict(outcome.scores),
        "encoder": dict(encoder),
        "data": dict(outcome.data),
        "settings": flatten(settings),
        "details": dict(outcome.details),
        "seconds": round(seconds, 1),
        "environment": dict(made_with),
    }
    run.write_json(RESULT, result)
    return result


def read_result(path: Path) -> dict[str, Any]:
    """Return what a run's folder, or its `result.json`, holds; UserError if it is no result."""
    file = path / RESULT if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path} holds no result of a readout")
    result = read_table(file)
    missing = {"task", "protocol", "scores", "encoder", "settings"} - result.keys()
    if missing:
        raise UserError(f"{file} is no result of a readout: it lacks {', '.join(sorted(missing))}")
    return result


def finished(folder: Path, settings: ReadoutSettings) -> dict[str, Any] | None:
    """Return the result that a run's folder already holds for these settings, or None.

    On which device it was measured does not count.
    """
    if not (folder / RESULT).is_file():
        return None
    result = read_result(folder)
    known, wanted = result["settings"], flatten(settings)
    same = to_json({**known, "device": None}) == to_json({**wanted, "device": None})
    return result if same else None


def check_encoder(folder: Path, encoder: Mapping[str, Any]) -> None:
    """Raise UserError if a run was started with other weights, of an encoder of the same name."""
    file = folder / ENCODER
    if file.is_file() and read_table(file).get("weights") != encoder["weights"]:
        raise UserError(
            f"{folder} reads out other weights than {encoder['name']} has now; choose another --out"
        )
