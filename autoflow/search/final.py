"""The network that a search ends with: trained on the mixed best sets, within the time left."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from autoflow.network import NetworkSettings, make_network
from autoflow.search.bench import BASE
from autoflow.search.settings import SearchSettings
from autoflow.sets import read_sets
from selfflow.runs.progress import console
from selfflow.runs.run import Run, write_text

FOLDER = Path("train")
NETWORK = FOLDER / "network.safetensors"
_BEST, _TRAINED_ON = "top3.toml", FOLDER / "sets.toml"


@dataclass(frozen=True)
class TimeLeft:
    """What a training may take.

    Attributes:
        seconds: until it is to be done.
        step: seconds that a step takes, as measured here.
    """

    seconds: float
    step: float


def train_final(
    settings: SearchSettings, path: Path, device: torch.device, left: TimeLeft | None = None
) -> None:
    """Train a network on the mixed best sets and store it; continue where it was stopped.

    Where trials since then have changed the best sets, it is trained anew.

    Args:
        settings: of the search.
        path: its run folder, with the best sets.
        device: where it is trained.
        left: what it may take. It then has as many steps as fit, so that the learning rate comes
            down all the same, and stops in time if they take longer.
    """
    _leave_other_sets(path)
    run = Run(path / FOLDER)
    done, spent = _progress(run)
    final = final_settings(settings, path)
    if left is not None:
        steps = min(settings.final.steps, done + int(max(left.seconds, 0) / left.step))
        if steps == 0:
            console.print("No time is left for the training at the end; the same command trains.")
            return
        final = _lasting(final, steps, spent + left.seconds)
    with Run.open(run.path, "train", final) as run:
        write_text(path / _TRAINED_ON, (path / _BEST).read_text())
        make_network(final, run, device)


def final_settings(settings: SearchSettings, path: Path) -> NetworkSettings:
    """Return the settings of the training that a search ends with."""
    shared = settings.final_start == "shared"
    return NetworkSettings(
        hyperparameters=str(path),
        name=settings.name,
        init=str(path / BASE) if shared else None,
        target=settings.target,
        seed=settings.seed,
        device=settings.device,
        data_root=settings.data_root,
        training=settings.final.apply(settings.training, trained=shared),
    )


def _leave_other_sets(path: Path) -> None:
    known = path / _TRAINED_ON
    if known.exists() and read_sets(known) != read_sets(path / _BEST):
        console.print("The best sets have changed since the network was trained: it begins anew.")
        shutil.rmtree(path / FOLDER)


def _progress(run: Run) -> tuple[int, float]:
    """Return the steps that a training has behind it and the seconds they took."""
    state = run.load_checkpoint()
    if state is None:
        return 0, 0.0
    return int(state["result"]["steps"]), float(state["result"]["seconds"])


def _lasting(final: NetworkSettings, steps: int, budget: float) -> NetworkSettings:
    optimisation = final.training.optimisation
    if steps < optimisation.loop.steps:
        console.print(
            f"The training at the end has {steps} of {optimisation.loop.steps} steps, what fits."
        )
    loop = optimisation.loop.model_copy(update={"steps": steps, "budget": max(budget, 0.0)})
    changed = optimisation.model_copy(update={"loop": loop})
    training = final.training.model_copy(update={"optimisation": changed})
    return final.model_copy(update={"training": training})
