"""What one GPU does, in under nine minutes: `python -m benchmarks.gpu`.

The renderer's pairs per second, RAFT's step beside torchvision's, FlowE's step, and a short real
training with its end-point errors on the built-in film and on the labelled sets under
$SELFFLOW_DATA that there are. Prints JSON and writes it to benchmarks/results/.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autoflow import Hyperparameters, render
from autoflow.train import SceneTraining, new_network, train_on_scenes
from benchmarks import raft
from representation.estimate import measure as measure_pretraining
from representation.methods.flowe import FlowE
from representation.pretrain import assemble
from representation.settings import DEVICE_DEFAULTS
from selfflow.datasets import labelled_pairs
from selfflow.evaluation import evaluate
from selfflow.models import FlowModel
from selfflow.models import load as load_model
from selfflow.runs.config import load, nested
from selfflow.runs.errors import UserError
from selfflow.runs.run import write_text

DEVICE = raft.DEVICE
LABELLED = ("sample", "middlebury", "sintel", "kitti")
TRAINING_SECONDS = 240.0 if DEVICE == "cuda" else 60.0
RESULTS = Path(__file__).parent / "results"


def rendering(batch: int = 64, batches: int = 8) -> dict[str, float]:
    """Measure pairs per second at 448x576 with the default set, effects included."""

    def one(number: int) -> None:
        numbers = range(number * batch, (number + 1) * batch)
        render(Hyperparameters(), 0, numbers, size=(448, 576), device=DEVICE)

    one(0)  # makes the textures
    seconds = _seconds(lambda: [one(number) for number in range(1, batches + 1)])
    return {"pairs per second": round(batch * batches / seconds, 1)}


def pretraining() -> dict[str, float]:
    """Measure FlowE's step on the built-in film with flow of an untrained RAFT."""
    defaults = {**DEVICE_DEFAULTS.get(DEVICE, {}), **FlowE.device_defaults.get(DEVICE, {})}
    values = {"flow_model": "zero", "target": "sample", "device": DEVICE}
    settings = load(FlowE.Settings, values=values, defaults=defaults)
    make, step = measure_pretraining(assemble(settings))
    pairs = settings.frames.batch_size
    return {
        "seconds a step": round(step, 4),
        "seconds to make a batch": round(make, 4),
        "pairs per second": round(pairs / step, 1),
    }


def training(seconds: float = TRAINING_SECONDS) -> dict[str, Any]:
    """Train RAFT small on default scenes for a while; return errors beside zero flow and DIS."""
    small = {"crop": (192, 256), "batch_size": 16, "iterations": 8, "learning_rate": 6e-4}
    if DEVICE == "cpu":
        small = {"crop": (96, 128), "batch_size": 6, "iterations": 4, "learning_rate": 6e-4}
    loop = {"steps": 100_000, "budget": seconds}
    if DEVICE == "cuda":
        loop["precision"] = "bfloat16"
    training = SceneTraining.model_validate(
        nested({"architecture": "raft-small", "head_start.matching_steps": 200})
        | {"optimisation": {**small, "schedule": "constant", "loop": loop}}
    )
    network = new_network("raft-small", 0, DEVICE)
    result = train_on_scenes(network, [Hyperparameters()], training, seed=0, title="Training")
    models: dict[str, FlowModel] = {
        "trained": network,
        "zero": load_model("zero", DEVICE),
        "dis": load_model("dis", DEVICE),
    }
    return {
        "seconds": round(result.seconds),
        "steps": result.steps,
        "share of time waiting for scenes": round(result.waited / result.seconds, 3),
        "end-point error, px": {data: errors(models, data) for data in LABELLED},
    }


def errors(models: dict[str, FlowModel], data: str) -> dict[str, dict[str, float]] | str:
    """Return each model's mean end-point error on the parts of a data set, or why there is none."""
    try:
        pairs = labelled_pairs(data)
    except UserError as problem:
        return str(problem)
    found: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        result = evaluate(model, pairs, iterations=12, device=DEVICE, name=name, data=data)
        found[name] = {
            part: round(tally.pooled()["all"]["epe"], 3) for part, tally in result.tallies.items()
        }
    return found


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, and write a file named after the device and the date."""
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    date = time.strftime("%Y-%m-%d")
    found = {
        "device": device,
        "date": date,
        "torch": torch.__version__,
        "rendering, 448x576": rendering(*((64, 8) if DEVICE == "cuda" else (8, 2))),
        "raft": raft.measure(),
        "flowe": pretraining(),
        "training": training(),
    }
    text = json.dumps(found, indent=2)
    write_text(RESULTS / f"{device.replace(' ', '-').lower()}-{date}.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
