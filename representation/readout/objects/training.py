"""How a detector is trained: what a step does, by which rule, and what is measured afterwards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from representation.readout.objects.detectors import Detector, trained
from representation.readout.objects.settings import ObjectSettings, ScheduleSettings
from representation.readout.objects.views import ObjectBatch
from selfflow.random import bits, key, purpose
from selfflow.runs.config import replace_values
from selfflow.runs.loop import LoopSettings
from selfflow.runs.task import Stateful, Task


class DetectorTask(Task[ObjectBatch]):
    """Lower the sum of a detector's losses.

    torchvision draws at random which proposals are learned from. It is told from where, for each
    batch anew: so a run that was stopped goes on exactly.
    """

    def __init__(self, detector: Detector, seed: int) -> None:
        self.detector, self.seed = detector, seed
        self.modules: Mapping[str, Stateful] = {"detector": detector}

    def step(self, batch: ObjectBatch, step: int) -> dict[str, Tensor]:
        """Return the losses by name, and their sum."""
        drawn = purpose(key(self.seed, torch.tensor([batch.number])), "samples")
        with torch_seed(int(bits(drawn)), batch.images[0].device):
            losses = self.detector.losses(batch.images, batch.targets)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


@contextmanager
def torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw from a seed, on the CPU and one device; afterwards it goes on as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def new_optimizer(settings: ScheduleSettings, detector: Detector) -> Optimizer:
    """Return the optimiser of what is trained; normalisation is not decayed, as in detectron2."""
    encoder, new = trained(detector)
    norms = {
        id(p)
        for module in detector.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm)
        for p in module.parameters(recurse=False)
    }
    groups = []
    for parameters, scale in ((encoder, settings.encoder_rate), (new, 1.0)):
        for decayed in (True, False):
            chosen = [p for p in parameters if (id(p) not in norms) == decayed]
            decay = settings.weight_decay if decayed else 0.0
            if chosen:
                groups.append({"params": chosen, "lr_scale": scale, "weight_decay": decay})
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, settings.learning_rate, betas=(settings.momentum, 0.999))
    return torch.optim.SGD(groups, settings.learning_rate, momentum=settings.momentum)


def learning_rate(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Return the rate of a step: a linear rise from a thousandth, then drops to a tenth each."""
    rate = settings.learning_rate * 0.1 ** sum(step >= share * steps for share in settings.drops)
    if step < settings.warmup:
        share = step / settings.warmup
        rate *= (1 - share) / 1000 + share
    return rate


def loop_settings(settings: ObjectSettings, images: int) -> LoopSettings:
    """Return the loop's settings, with the epochs' steps where epochs are given."""
    if settings.epochs is None:
        return settings.loop
    steps = -(-settings.epochs * images // (settings.batch_size * settings.loop.accumulate))
    return replace_values(settings.loop, {"steps": max(1, steps)})


@torch.no_grad()
def measure_norm(
    detector: Detector, batches: Callable[[int], ObjectBatch], numbers: Sequence[int], seed: int
) -> None:
    """Measure batch normalisation's statistics on some batches, with the final weights.

    detectron2's "precise BN": the mean over batches, in place of an average over the last steps,
    in which weights still changed. What is frozen keeps its own.
    """
    followed = [
        each
        for each in detector.modules()
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.training
    ]
    kept = [each.momentum for each in followed]
    for each in followed:
        each.reset_running_stats()
        each.momentum = None  # the plain mean
    task = DetectorTask(detector, seed)
    for number in numbers:
        task.step(batches(number), 0)
    for each, momentum in zip(followed, kept, strict=True):
        each.momentum = momentum
