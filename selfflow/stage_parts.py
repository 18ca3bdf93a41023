"""What the stages of training share: their first network, what they measure, keep and store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from selfflow.models import NETWORK, load_network, save
from selfflow.raft import RAFT
from selfflow.runs.cost import seconds_of
from selfflow.runs.distributed import from_first
from selfflow.runs.loop import LoopSettings, Result
from selfflow.runs.run import Run, read_table
from selfflow.runs.task import Task
from selfflow.runs.wording import counted
from selfflow.stage_config import StageConfig
from selfflow.supervised import Size
from selfflow.unsupervised import freeze_batch_norm

B = TypeVar("B")


def first_network(init: str | Path, device: torch.device) -> RAFT:
    """Return the network that a stage starts from, to be trained, its batch norms frozen."""
    network = load_network(init)[0].to(device)
    network.train()
    freeze_batch_norm(network)
    return network


def seconds_a_step(
    task: Task[B], batch: B, step: int, loop: LoopSettings, device: torch.device
) -> float:
    """Return how long a batch takes, forwards and backwards; weights stay as they are."""

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=loop.precision == "bfloat16"):
            loss = task.step(batch, step)["loss"]
        loss.backward()

    work()  # the first one also makes buffers and chooses algorithms
    return seconds_of(work, device)


def measured_before(run: Run, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return how the first network does; a continued run reads what it once measured.

    Args:
        run: of the stage; what is measured is kept as `before.json`.
        measure: called in all processes or in none.
    """
    path = run.path / "before.json"
    before = from_first(lambda: read_table(path) if path.exists() else None)
    if before is None:
        before = measure()
        run.write_json(path.name, before)
    return before


def sizes(crop: Size, iterations: int, loop: LoopSettings, batch_size: int) -> str:
    """Return one line for a person: what the network sees, for how long."""
    seen = f"crops of {crop[0]}x{crop[1]}, {counted(iterations, 'iteration')}"
    return f"{seen}, {loop.describe(batch_size)}"


def counted_pairs(count: int, *, trained_on: bool) -> str:
    """Return how many pairs are measured and whether they were held out, for a title."""
    return f"{counted(count, 'pair')} trained on" if trained_on else counted(count, "held-out pair")


def keep_network(run: Run, name: str, network: RAFT, about: Mapping[str, Any]) -> Path:
    """Write a network into its run folder, and into the store under a name; return the latter.

    The store's copy gives way to the next network of that name, the run keeps its own.
    """
    save(run.path / NETWORK, network, about)
    return save(name, network, about)


def store_results(
    run: Run,
    config: StageConfig,
    network: RAFT,
    result: Result,
    found: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keep the network of a stage on real frames and write its results; return them.

    Args:
        run: of the stage.
        config: of the stage, resolved.
        network: as trained.
        result: of the loop.
        found: what else the results say: title, before, after, ...
        about: what else the network's description says; a target here stands for the settings'.
    """
    origin = {"target": config.target, "init": config.init} | dict(about or {})
    length = {"steps": result.steps, "seconds": round(result.seconds, 1)}
    made_by = f"selfflow train --stage {config.stage}"
    path = keep_network(
        run, config.name, network, {"made_by": made_by, "seed": config.seed, **length, **origin}
    )
    results = {
        "target": origin["target"],
        "init": origin["init"],
        **found,
        "steps": result.steps,
        "seconds": result.seconds,
        "skipped": result.skipped,
        "model": str(path),
    }
    run.write_json("results.json", results)
    return results
