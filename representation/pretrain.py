"""Pre-training from start to end: frames, flow and a method in, a trained encoder out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation import models
from representation.collapse import CollapseWatch
from representation.flow_cache import ComputedFlow, FlowCache
from representation.method import Method
from representation.methods import METHODS
from representation.norm import synchronise
from representation.optimizer import effective_batch, learning_rate, new_optimizer
from representation.pairs import image_addresses, pair_addresses
from representation.pictures.album import Album
from representation.probe.images import LabelledImages, open_labelled
from representation.probe.measure import probe
from representation.probe.watch import ProbeWatch
from representation.settings import PretrainSettings
from representation.snapshot import Snapshot
from representation.source import FrameSource
from representation.stills import open_images
from representation.throughput import Throughput
from representation.watcher import Watcher
from selfflow.frames import FrameBatches, FrameCache, fit_size, pairs_from_json, spread
from selfflow.models import load as load_flow_model
from selfflow.runs import run as runs
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import rank, world_size
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result, fit
from selfflow.runs.run import Run, home, read_json
from selfflow.video import open_target

PAIRS = "pairs.json"
SHOWN = 3  # frames whose features are shown during training

# How an encoder is looked at does not change it, and may differ when a run is continued.
MAY_DIFFER = runs.MAY_DIFFER | {"probe"}


@dataclass(frozen=True)
class Pretraining:
    """All parts of a run. Nothing is written before `train`.

    Attributes:
        settings: resolved: flow model and target are named.
        method: what a step does.
        batches: the pairs of frames, or images as pairs with themselves.
        flow: computes their flow; None for a method that needs none.
        labelled: images that the encoder is probed with during training; None: it is not.
    """

    settings: PretrainSettings
    method: Method
    batches: FrameBatches
    flow: ComputedFlow | None
    labelled: LabelledImages | None = None


def method_class(name: str) -> type[Method]:
    """Return a method by its name; UserError for an unknown one."""
    if name not in METHODS:
        raise UserError(f"no method {name!r}; known are {', '.join(METHODS)}")
    return METHODS[name]


def assemble(
    settings: PretrainSettings, *, data_root: Path | None = None, listed: Path | None = None
) -> Pretraining:
    """Make the networks, load the flow model, and look for the target's pairs or images.

    Args:
        settings: with the target named, and the flow model where the method needs one.
        data_root: where data sets lie.
        listed: a file that an earlier session of the run listed its pairs in; they are taken over.

    Raises:
        UserError: the target, the flow model or the first weights are not there, or don't fit.
    """
    if settings.target is None:
        raise ValueError("the settings must name a target")
    device = pick_device(settings.device)
    method = new_method(settings, device)
    flow = None
    if method.uses_flow:
        if settings.flow_model is None:
            raise ValueError(f"{settings.method} needs a flow model")
        model = load_flow_model(settings.flow_model, device)
        flow = ComputedFlow(model, settings.flow_iterations, settings.flow_scale)
    frames = settings.frames
    target = (open_target if method.uses_pairs else open_images)(settings.target, data_root)
    if listed is not None and listed.exists():
        pairs = pairs_from_json(read_json(listed), str(listed))
    else:
        addresses = pair_addresses if method.uses_pairs else image_addresses
        pairs = addresses(target, frames, settings.seed)
    batches = FrameBatches(
        cache=FrameCache(target, frames.short_side),
        pairs=pairs,
        seed=settings.seed,
        batch_size=frames.batch_size,
        device=device,
    )
    probing, labelled = settings.probe, None
    if probing.data is not None:
        labelled = open_labelled(
            probing.data, data_root, count=probing.images, short_side=probing.short_side
        )
    return Pretraining(settings, method, batches, flow, labelled)


def new_method(settings: PretrainSettings, device: torch.device) -> Method:
    """Return a method with its first weights, which depend on the settings alone.

    Of several processes, batch normalisation is over all of their batches.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        method = method_class(settings.method)(settings, device)
    if world_size() > 1:
        for module in method.modules.values():
            if isinstance(module, nn.Module):
                synchronise(module)
    return method


def train(parts: Pretraining, run: Run) -> Result:
    """Train, or go on where `run` was stopped; then the method's encoder is trained."""
    settings, method = parts.settings, parts.method
    if rank() == 0:
        run.write_json(PAIRS, parts.batches.pairs)
    task = watched(parts, run)
    result = fit(
        task,
        batches_for(parts),
        optimizer=new_optimizer(settings, method),
        learning_rate=lambda step: learning_rate(settings, step),
        settings=settings.loop,
        run=run,
        title=f"Pre-training ({settings.method})",
    )
    if isinstance(task, Album):
        task.end(result.steps)
    return result


def watched(parts: Pretraining, run: Run) -> Watcher:
    """Return the method with all that is looked at while it is trained; none of it changes it."""
    settings, method = parts.settings, parts.method
    snapshot = Snapshot(method.encoder, settings.probe.stride)
    task: Watcher = Throughput(
        CollapseWatch(method, settings.collapse_below),
        effective_batch(settings),
        settings.loop.accumulate,
        None if parts.flow is None else parts.flow.time,
    )
    if parts.labelled is not None:
        task = ProbeWatch(task, snapshot, parts.labelled, settings.probe)
    if settings.loop.pictures_every:
        task = Album(task, snapshot, shown_frames(parts), run.path)
    return task


def shown_frames(parts: Pretraining) -> list[Tensor]:
    """Return a few frames `(1, 3, H, W)` of the target, no larger than the probe's images."""
    batches, short_side = parts.batches, parts.settings.probe.short_side
    frames = []
    for place in spread(batches.pairs, SHOWN, parts.settings.seed):
        frame = batches.cache.batch([place], device=batches.device).image1
        size = fit_size(frame.shape[2], frame.shape[3], short_side)
        frames.append(F.interpolate(frame, size, mode="bilinear", antialias=True))
    return frames


def summary(parts: Pretraining, result: Result) -> dict[str, float]:
    """Return how a training went: speed, where its time went, what was measured last.

    The probe is of the encoder that is kept: of averaged weights, if they are averaged.
    """
    settings = parts.settings
    seconds = max(result.seconds, 1e-9)
    found = {
        **result.means,
        **result.figures,
        "images_per_second": effective_batch(settings) * result.steps / seconds,
        "share_of_time_waiting": result.waited / seconds,
    }
    if parts.labelled is not None:
        kept = Snapshot(parts.method.encoder, settings.probe.stride)()
        found |= probe(kept, parts.labelled, settings.probe)
    return found


def batches_for(parts: Pretraining, *, cached: bool | None = None) -> Callable[[int], Any]:
    """Return the method's batches as a function of their number.

    `cached` says whether flow is kept on disk; None leaves that to the settings.
    """
    flow = parts.flow
    if flow is None:
        source = FrameSource(parts.batches, None)
    elif parts.settings.cache_flow if cached is None else cached:
        source = FrameSource(parts.batches, FlowCache(flow, flow_folder()))
    else:
        source = FrameSource(parts.batches, flow)
    return lambda number: parts.method.prepare(source(number))


def flow_folder() -> Path:
    """Return where the flow of all runs is kept."""
    return home() / "flow"


def save(parts: Pretraining, result: Result) -> Path:
    """Put the trained encoder into the model store, with how it was made; return its path."""
    settings = parts.settings
    metadata = {
        "method": settings.method,
        "target": settings.target,
        "flow_model": settings.flow_model,
        "made_by": "representation pretrain",
        "init": settings.encoder.init,
        "seed": settings.seed,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
    }
    return models.save(settings.name or settings.method, parts.method.encoder, metadata)
