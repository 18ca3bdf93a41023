"""`autoflow train`: a network for the world, trained on rendered scenes and put into the store."""

import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from autoflow.sets import read_sets
from autoflow.textures import PhotographBank
from autoflow.train import (
    CPU_TRAINING,
    GPU_TRAINING,
    SceneTraining,
    check_init,
    measure_cost,
    new_network,
    read_photographs,
    train_on_scenes,
)
from selfflow.models import load_network
from selfflow.raft import RAFT
from selfflow.runs.config import flatten
from selfflow.runs.devices import pick_device
from selfflow.runs.environment import command
from selfflow.runs.loop import Result
from selfflow.runs.run import Run
from selfflow.runs.wording import counted
from selfflow.stage_config import StageConfig
from selfflow.stage_parts import keep_network

# Not the scenes that trials are trained on, nor those of the base network.
FINAL_SCENES = 2_000_003


class NetworkSettings(StageConfig):
    """What is trained on which sets."""

    stage: Literal["scenes"] = "scenes"
    hyperparameters: str = Field("default", description="a search's run, a TOML file, or default")
    top: int | None = Field(None, ge=1, description="mix only the first so many sets; none: all")
    name: str = Field("s-af", description="under which the network is stored")
    init: str | None = Field(None, description="model to start from; none: untrained")
    target: str | None = Field(None, description="what the sets were made for; none: as they say")
    data_root: Path | None = Field(None, description="where data sets lie")
    training: SceneTraining = SceneTraining()

    def target_name(self) -> str | None:
        """Return the target that the sets were made for, if that is known."""
        if self.target is not None:
            return self.target
        config = Path(self.hyperparameters) / "config.toml"
        if not config.is_file():
            return None
        found = tomllib.loads(config.read_text(encoding="utf-8")).get("target")
        return str(found) if found is not None else None


DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {f"training.{name}": value for name, value in CPU_TRAINING.items()},
    "cuda": {f"training.{name}": value for name, value in GPU_TRAINING.items()}
    | {"training.optimisation.loop.steps": 200_000},
}


@dataclass(frozen=True)
class Trained:
    """A network in the store."""

    network: RAFT
    path: Path
    result: Result


def make_network(
    settings: NetworkSettings,
    run: Run,
    device: torch.device,
    start: str | Path | None = None,
) -> Trained:
    """Train a network on the mixed sets and store it under its name; continue where it stopped.

    Args:
        settings: which sets, how long.
        run: an open run folder of kind "train".
        device: where it is trained.
        start: where the network that `settings.init` names is read from, if not by that name.
    """
    sets = read_sets(settings.hyperparameters, settings.top)
    if settings.init is not None:
        network, _ = load_network(start or settings.init)
        network = network.to(device)
    else:
        network = new_network(settings.training.architecture, settings.seed, device)
    result = train_on_scenes(
        network,
        sets,
        settings.training,
        seed=settings.seed + FINAL_SCENES,
        photographs=photographs_of(settings),
        run=run,
        title=f"Training {settings.name}",
    )
    metadata = describe(settings, result)
    path = keep_network(run, settings.name, network, metadata)
    summary = {"model": settings.name, "path": str(path), "steps": result.steps}
    run.write_json("results.json", summary | {"seconds": result.seconds, **result.means})
    return Trained(network, path, result)


@dataclass(frozen=True)
class NetworkTraining:
    """A training on rendered scenes that is ready to begin."""

    settings: NetworkSettings
    device: torch.device
    start: str | Path | None = None

    @classmethod
    def prepare(
        cls,
        config: NetworkSettings,
        data_root: Path | None = None,
        start: str | Path | None = None,
    ) -> "NetworkTraining":
        """Open and check everything that the training needs; write nothing."""
        settings = (
            config if data_root is None else config.model_copy(update={"data_root": data_root})
        )
        read_sets(settings.hyperparameters, settings.top)
        photographs_of(settings)
        if settings.init is not None:
            check_init(str(start or settings.init), settings.training.architecture)
        return cls(settings, pick_device(settings.device), start)

    def estimate(self) -> list[str]:
        """Return lines for a person: what is used, and time and memory, from steps taken."""
        settings, training = self.settings, self.settings.training
        optimisation = training.optimisation
        sets = read_sets(settings.hyperparameters, settings.top)
        cost = measure_cost(sets, training, self.device)
        return [
            f"{counted(len(sets), 'set')} of {settings.hyperparameters} on {self.device}: "
            f"{training.describe()}",
            optimisation.loop.describe(optimisation.batch_size),
            f"Estimate: {cost.describe(optimisation.loop.steps)}",
        ]

    def run(self, run: Run) -> dict[str, Any]:
        """Train, or go on; store the network; return the results."""
        trained = make_network(self.settings, run, self.device, self.start)
        facts = {"model": self.settings.name, "path": str(trained.path)}
        return facts | {
            "steps": trained.result.steps,
            "seconds": trained.result.seconds,
            **trained.result.means,
        }


def photographs_of(settings: NetworkSettings) -> PhotographBank | None:
    """Return the photographs that textures are cut from, if the training asks for any."""
    return read_photographs(
        settings.training.photographs, settings.target_name(), settings.data_root
    )


def describe(settings: NetworkSettings, result: Result) -> dict[str, Any]:
    """Return the network's metadata."""
    sets = read_sets(settings.hyperparameters, settings.top)
    return {
        "target": settings.target_name(),
        "made_by": shlex.join(command()),
        "seed": settings.seed,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "init": settings.init,
        "iterations": settings.training.optimisation.iterations,
        "hyperparameters": [dict(flatten(each)) for each in sets],
    }
