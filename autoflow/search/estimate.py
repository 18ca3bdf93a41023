"""What a search will use and take, said before it begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.calibration import calibration_steps
from autoflow.search.settings import RANDOM, SearchSettings
from autoflow.search.strategies import strategy_of
from autoflow.sets import read_hyperparameters
from autoflow.space import searched
from autoflow.train import Cost, check_init, measure_cost, read_photographs
from selfflow.runs.errors import UserError
from selfflow.runs.progress import format_duration
from selfflow.runs.wording import counted
from selfflow.video import open_target


@dataclass(frozen=True)
class Estimate:
    """What a search will take.

    Attributes:
        lines: for a person.
        step: seconds that a step of training takes here, where nothing else is done.
    """

    lines: list[str]
    step: float


def estimate(
    settings: SearchSettings, path: Path, device: torch.device, *, train: bool
) -> Estimate:
    """Return what a search will use and take, all inputs looked at; nothing is written."""
    target = open_target(settings.target, settings.data_root)
    start = read_hyperparameters(settings.hyperparameters)
    space = searched(start, settings.only)
    strategy_of(settings, space)
    if settings.metric.name == "aepe" and not target.has_ground_truth:
        raise UserError(f"target {target.name}: no flow is known; --metric aepe needs it")
    read_photographs(settings.training.photographs, settings.target, settings.data_root)
    if settings.base.init != RANDOM:
        check_init(settings.base.init, settings.training.architecture)
    cost = measure_cost([start], settings.training, device)
    return Estimate(
        [
            f"Target {target.name}, {counted(len(target.sequences), 'sequence')}; "
            f"{settings.strategy} over {counted(len(space), 'hyperparameter')}; "
            f"metric {settings.metric.name}; {_workers(settings)}device {device}",
            f"Network: {settings.training.describe()}",
            _duration(settings, start, cost, device, train=train),
            f"Run folder {path}",
        ],
        cost.seconds,
    )


def _workers(settings: SearchSettings) -> str:
    return f"{settings.workers} workers, " if settings.workers > 1 else ""


def _duration(
    settings: SearchSettings,
    start: Hyperparameters,
    cost: Cost,
    device: torch.device,
    *,
    train: bool,
) -> str:
    """Return the line that says how long the parts of a search take."""
    shared = "shared" in (settings.trial.start, settings.final_start if train else "")
    trials = settings.trials * settings.trial.steps
    step = _among_workers(settings, start, cost, device)
    seconds = {
        "base network": settings.base.steps * shared * cost.seconds,
        "calibration": calibration_steps(settings) * step,
        counted(settings.trials, "trial"): trials * step,
        "training at the end": settings.final.steps * train * cost.seconds,
    }
    parts = ", ".join(f"{name} {format_duration(each)}" for name, each in seconds.items() if each)
    most = "" if settings.budget is None else f", at most {format_duration(settings.budget)}"
    each = " each" if settings.workers > 1 else ""
    return (
        f"Estimate: about {format_duration(sum(seconds.values()))} ({cost.seconds:.2f} s a step)"
        f"{most}, {cost.bytes / 2**30:.1f} GB of memory{each}: {parts}; without measurements, and "
        "less what pruning saves"
    )


def _among_workers(
    settings: SearchSettings, start: Hyperparameters, cost: Cost, device: torch.device
) -> float:
    """Return the seconds that a step of a trial amounts to, several being taken at once."""
    if settings.workers == 1:
        return cost.seconds
    if device.type == "cuda":
        gpus = torch.cuda.device_count() if device.index is None else 1
        return cost.seconds / min(settings.workers, gpus)
    # Several processes share the cores, so that a step takes longer in each.
    cores = torch.get_num_threads()
    with _threads(max(1, cores // settings.workers)):
        alone = measure_cost([start], settings.training, device).seconds
    return alone / min(settings.workers, cores)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
