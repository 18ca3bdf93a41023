"""What a run will take, measured on a few steps of a copy."""

import copy
from functools import partial

import torch

from representation.optimizer import new_optimizer
from representation.pretrain import Pretraining, batches_for, flow_folder
from representation.settings import PretrainSettings
from selfflow.runs.cost import peak_memory, seconds_of
from selfflow.runs.distributed import world_size
from selfflow.runs.progress import format_duration
from selfflow.runs.wording import counted


def estimate(parts: Pretraining) -> list[str]:
    """Return lines for a person: what is used, and the time and memory that it will take.

    Three steps are taken on a copy of the networks, with flow computed and nothing kept.
    """
    encoder = parts.method.encoder
    settings, loop, pairs = parts.settings, parts.settings.loop, len(parts.batches.pairs)
    device = torch.device(parts.batches.device)
    make, step = measure(parts)
    count = loop.steps * loop.accumulate
    made, each = count, "to make a batch"
    if parts.flow is not None and settings.cache_flow:
        made = min(count, -(-pairs // settings.frames.batch_size))
        each = "for a batch whose flow is not known yet"
    seconds = count * step + made * make
    what = "pairs" if parts.method.uses_pairs else "single images"
    flow = "" if parts.flow is None else f"; flow: {settings.flow_model}"
    lines = [
        f"{settings.method}: {encoder.architecture} at stride {encoder.stride}, "
        f"views of {settings.views.height}x{settings.views.width}, on {device}",
        f"frames: {pairs} {what} of {settings.target}{flow}",
        f"{loop.describe(settings.frames.batch_size)}",
        f"about {format_duration(seconds)}: {step:.2g} s a step, and {make:.2g} s "
        f"{each}; {peak_memory(device) / 2**30:.1f} GiB of memory",
    ]
    lines += [*_normalisation(settings), *_probe(parts)]
    if parts.flow is not None and settings.cache_flow:
        image = parts.batches.cache.batch(parts.batches.pairs[:1]).image1
        height, width = parts.flow.size(image)
        size = 8 * height * width * pairs / 2**20
        lines.append(f"flow is kept in {flow_folder()}, about {size:.0f} MiB for all pairs")
    return lines


def _normalisation(settings: PretrainSettings) -> list[str]:
    """Return over which images batch normalisation goes, where that is not simply the batch."""
    batch, processes = settings.frames.batch_size, world_size()
    count = getattr(getattr(settings, "moco", None), "parts", 1)
    if count > 1:
        each = batch * processes // count
        parts = f"{count} parts of {counted(each, 'image')} by themselves"
        return [
            f"batch normalisation: {parts}, keys in another order than queries (shuffling BN, also "
            "in a single process)"
        ]
    if processes > 1:
        return [f"batch normalisation: over the {batch * processes} of all {processes} processes"]
    return []


def _probe(parts: Pretraining) -> list[str]:
    if parts.labelled is None:
        return []
    count, settings = len(parts.labelled.train) + len(parts.labelled.test), parts.settings.probe
    return [f"probe: {counted(count, 'image')} of {settings.data} every {settings.every} steps"]


def measure(parts: Pretraining) -> tuple[float, float]:
    """Return the seconds to make a batch, flow included, and to take a step with it."""
    device = torch.device(parts.batches.device)
    method = copy.deepcopy(parts.method)
    optimizer = new_optimizer(parts.settings, method)
    batches = batches_for(parts, cached=False)
    low = parts.settings.loop.precision == "bfloat16"

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss = method.step(batch, 0)["loss"]
        loss.backward()
        optimizer.step()

    batch = batches(0)
    step()  # the first one also makes buffers and chooses algorithms
    # The better of two, because other programs may get in between.
    make = min(seconds_of(partial(batches, number), device) for number in (1, 2))
    return make, min(seconds_of(step, device) for _ in range(2))
