"""Pre-training from start to end: frames, flow and a method in, a trained encoder out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from representation import models
from representation.collapse import CollapseWatch
from representation.flow_cache import ComputedFlow, FlowCache
from representation.method import Method
from representation.methods import METHODS
from representation.norm import synchronise
from representation.optimizer import learning_rate, new_optimizer
from representation.pairs import image_addresses, pair_addresses
from representation.settings import PretrainSettings
from representation.source import FrameSource
from representation.stills import open_images
from selfflow.frames import FrameBatches, FrameCache, pairs_from_json
from selfflow.models import load as load_flow_model
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import rank, world_size
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result, fit
from selfflow.runs.run import Run, home, read_json
from selfflow.video import open_target

PAIRS = "pairs.json"


@dataclass(frozen=True)
class Pretraining:
    """All parts of a run. Nothing is written before `train`.

    Attributes:
        settings: resolved: flow model and target are named.
        method: what a step does.
        batches: the pairs of frames, or images as pairs with themselves.
        flow: computes their flow; None for a method that needs none.
    """

    settings: PretrainSettings
    method: Method
    batches: FrameBatches
    flow: ComputedFlow | None


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
    return Pretraining(settings, method, batches, flow)


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
    return fit(
        CollapseWatch(method, settings.collapse_below),
        batches_for(parts),
        optimizer=new_optimizer(settings, method),
        learning_rate=lambda step: learning_rate(settings, step),
        settings=settings.loop,
        run=run,
        title=f"Pre-training ({settings.method})",
    )


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
