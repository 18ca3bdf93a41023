"""Training a network on rendered scenes: base networks, trials and what a search ends with."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from autoflow.hyperparameters import Hyperparameters
from autoflow.matching import easy_scenes, learn_to_match
from autoflow.stream import Stream, stream
from autoflow.textures import PhotographBank
from selfflow.models import load_network
from selfflow.pairs import Pairs
from selfflow.raft import ARCHITECTURES, RAFT
from selfflow.runs.config import Config
from selfflow.runs.cost import peak_memory
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result, Wish
from selfflow.runs.progress import format_duration
from selfflow.runs.run import Run
from selfflow.runs.wording import counted
from selfflow.supervised import TrainSettings, train_supervised
from selfflow.video import open_target

MOST_PHOTOGRAPHS = 256

Architecture = Literal["raft-small", "raft-large", "raft-large-instance"]


class HeadStart(Config):
    """What an untrained network is shown first, so that a short training gets somewhere."""

    matching_steps: int = Field(
        0, ge=0, description="of the features alone, before the training: see autoflow.matching"
    )
    easy: float = Field(
        0.0, ge=0, le=1, description="share of the training, its beginning, that has easy scenes"
    )


class SceneTraining(Config):
    """A network, the scenes it is trained on and how."""

    architecture: Architecture = Field("raft-large", description="network")
    augment: bool = Field(True, description="augment the scenes as the sets say")
    head_start: HeadStart = HeadStart()
    photographs: str | None = Field(
        None, description="pictures to cut textures from: a folder, or target for its own frames"
    )
    optimisation: TrainSettings = TrainSettings()

    def lasting(
        self, steps: int, learning_rate: float | None = None, *, trained: bool = False
    ) -> "SceneTraining":
        """Return the same training with another length and peak; `trained`: no head start."""
        changed: dict[str, object] = {
            "loop": self.optimisation.loop.model_copy(update={"steps": steps})
        }
        if learning_rate is not None:
            changed["learning_rate"] = learning_rate
        optimisation = self.optimisation.model_copy(update=changed)
        head_start = HeadStart() if trained else self.head_start
        return self.model_copy(update={"optimisation": optimisation, "head_start": head_start})

    def describe(self) -> str:
        """Return one line for a person."""
        optimisation = self.optimisation
        crop = "x".join(map(str, optimisation.crop))
        return (
            f"{self.architecture} on {crop}, {counted(optimisation.iterations, 'iteration')}, "
            f"batch {optimisation.batch_size}, {optimisation.loop.precision}"
        )


# What fits two cores: a step takes a fraction of a second.
CPU_TRAINING = {
    "architecture": "raft-small",
    "head_start.matching_steps": 200,
    "head_start.easy": 0.3,
    "optimisation.crop": (96, 128),
    "optimisation.batch_size": 6,
    "optimisation.iterations": 4,
    "optimisation.learning_rate": 6e-4,
    "optimisation.loop.steps": 1000,
}
GPU_TRAINING = {
    "optimisation.batch_size": 8,
    "optimisation.loop.precision": "bfloat16",
    "optimisation.loop.steps": 20_000,
}


def new_network(architecture: str, seed: int, device: torch.device | str) -> RAFT:
    """Return an untrained network, the same for the same seed."""
    if architecture not in ARCHITECTURES:
        raise UserError(f"no network {architecture}; known are {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RAFT(architecture)
    return network.to(device)


def check_init(name: str, architecture: str) -> None:
    """Raise UserError unless `name` is a network of that architecture, to start from."""
    network, _ = load_network(name)
    if network.architecture != architecture:
        raise UserError(f"{name} is a {network.architecture}, the training is of a {architecture}")


def read_photographs(
    source: str | None, target: str | None, data_root: Path | None
) -> PhotographBank | None:
    """Return pictures to cut textures from: of a folder, or frames of the target, or none.

    Raises:
        UserError: there are none there, or "target" is asked for and no target is known.
    """
    if source is None:
        return None
    if source != "target":
        return PhotographBank.from_folder(Path(source))
    if target is None:
        raise UserError("training.photographs = target: no target is known; give --target")
    video = open_target(target, data_root)
    places = [(each, index) for each in video.sequences for index in range(0, len(each), 10)]
    chosen = places[:: max(1, len(places) // MOST_PHOTOGRAPHS)][:MOST_PHOTOGRAPHS]
    return PhotographBank.from_frames([each.frame(index) for each, index in chosen])


def scene_stream(
    sets: Sequence[Hyperparameters],
    training: SceneTraining,
    *,
    seed: int,
    device: torch.device | str,
    photographs: PhotographBank | None = None,
) -> Stream:
    """Return the batches of a training: scenes of mixed sets, augmented and cropped."""
    return stream(
        sets,
        seed=seed,
        size=training.optimisation.crop,
        batch_size=training.optimisation.batch_size,
        device=device,
        photographs=photographs,
        augment=training.augment,
    )


def train_on_scenes(
    network: RAFT,
    sets: Sequence[Hyperparameters],
    training: SceneTraining,
    *,
    seed: int,
    photographs: PhotographBank | None = None,
    run: Run | None = None,
    title: str = "Training",
    watch: Callable[[int], Wish | None] | None = None,
) -> Result:
    """Train `network`, on its device, on the mixed stream of `sets`.

    Args:
        network: changed in place.
        sets: hyperparameters of the scenes; several are mixed evenly.
        training: sizes, steps, learning rate.
        seed: of the stream of scenes.
        photographs: pictures to cut textures from, besides the procedural ones.
        run: where checkpoints go; training continues where it was stopped.
        title: beside the bar.
        watch: called after every step, see `selfflow.runs.loop.fit`.
    """
    device = next(network.parameters()).device
    scenes = scene_stream(sets, training, seed=seed, device=device, photographs=photographs)
    optimisation, head_start = training.optimisation, training.head_start
    simple = easy_scenes(
        sets, seed=seed, size=optimisation.crop, batch_size=optimisation.batch_size, device=device
    )
    if head_start.matching_steps and (run is None or not run.has_checkpoint()):
        learn_to_match(network, simple, head_start.matching_steps)
    first = round(head_start.easy * optimisation.loop.steps)

    def batch_at(step: int) -> Pairs:
        return (simple if step < first else scenes).batch_at(step)

    return train_supervised(network, batch_at, optimisation, run=run, title=title, watch=watch)


@dataclass(frozen=True)
class Cost:
    """What a step of training costs here.

    Attributes:
        seconds: a step, rendering included.
        bytes: the process's (on a GPU: the device's) memory at its largest.
    """

    seconds: float
    bytes: int

    def describe(self, steps: int) -> str:
        """Return one line: time for `steps` steps, and memory."""
        return (
            f"about {format_duration(steps * self.seconds)} "
            f"({self.seconds:.2f} s a step), {self.bytes / 2**30:.1f} GB of memory"
        )


def measure_cost(
    sets: Sequence[Hyperparameters],
    training: SceneTraining,
    device: torch.device,
    steps: int = 3,
) -> Cost:
    """Take a few steps with a throw-away network, the first one not timed, and see."""
    network = new_network(training.architecture, 0, device)
    times: list[float] = []

    def watch(step: int) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    shortened = training.lasting(steps + 1, trained=True)
    train_on_scenes(network, sets, shortened, seed=0, title="Measuring a step", watch=watch)
    return Cost((times[-1] - times[0]) / steps, peak_memory(device))
