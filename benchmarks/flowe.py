"""Which share of a FlowE step the flow network takes: s-af-small at half size, both ways.

A step from frames to weights, its parts in turn: flow, views with their correspondences, networks
and optimiser. Flow is computed in every step, as in the first time that a pair is seen; from the
cache it costs next to nothing. Training makes batches ahead of the steps, which on a GPU hides a
part of what is measured here; on a CPU both share the cores. There the processor's time is taken,
of all threads, which does not depend on what else the machine does.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.raft import DEVICE
from representation.flow_cache import ComputedFlow
from representation.method import Frames
from representation.methods.flowe import FlowE, FlowEPretraining
from representation.optimizer import new_optimizer
from selfflow.models import load as load_flow_model
from selfflow.random import key
from selfflow.runs.config import load
from selfflow.runs.cost import seconds_of

SCALE = 0.5

# A small network on small frames, at the paper's stride of 8, which flowe-quick.toml doubles, and
# flowe-gpu.toml, on a CPU with two pairs instead of 32.
QUICK: dict[str, Any] = {
    "frames": (160, 213),
    "frames.batch_size": 6,
    "views.height": 96,
    "views.width": 128,
    "encoder.architecture": "resnet18",
    "heads.hidden": 512,
    "heads.out": 128,
    "flowe.loss_at": "cells",
}
LARGE: dict[str, Any] = {
    "frames": (360, 640),
    "frames.batch_size": 32 if DEVICE == "cuda" else 2,
    "views.height": 256,
    "views.width": 512,
    "encoder.architecture": "resnet50",
    "flowe.loss_at": "cells",
}


def moving_frames(count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pairs of smooth noise, the second one moved by three pixels."""
    small = torch.rand(count, 3, height // 8 + 1, width // 8 + 2, generator=torch.manual_seed(0))
    whole = F.interpolate(small, (height, width + 3), mode="bilinear").to(DEVICE)
    return whole[..., 3:].contiguous(), whole[..., :-3].contiguous()


def shares(recipe: Mapping[str, Any], repeats: int) -> dict[str, float]:
    """Return the least seconds of each part of a step, of some repeats, and flow's share."""
    values = {key: value for key, value in recipe.items() if key != "frames"}
    settings = load(FlowEPretraining, values=values | {"device": DEVICE})
    device = torch.device(DEVICE)
    method, count = FlowE(settings, device), settings.frames.batch_size
    flow = ComputedFlow(load_flow_model("s-af-small", device), settings.flow_iterations, SCALE)
    optimizer = new_optimizer(settings, method)
    image1, image2 = moving_frames(count, *recipe["frames"])
    sizes, keys = torch.tensor(recipe["frames"]).expand(count, 2), key(0, torch.arange(count))
    low = settings.loop.precision == "bfloat16" or DEVICE == "cuda"
    least = {"flow": float("inf"), "views": float("inf"), "networks": float("inf")}
    made: dict[str, Any] = {}

    def compute_flow() -> None:
        made["flow"] = flow(image1, image2)

    def make_views() -> None:
        made["batch"] = method.prepare(Frames(image1, image2, keys, sizes, *made["flow"]))

    def train() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=low):
            loss = method.step(made["batch"], 0)["loss"]
        loss.backward()
        optimizer.step()
        method.after_step(0)

    parts = {"flow": compute_flow, "views": make_views, "networks": train}
    for number in range(repeats + 1):
        for name, work in parts.items():
            seconds = _seconds(work, device)
            if number:  # the first one makes buffers
                least[name] = min(least[name], seconds)
    total = sum(least.values())
    return {
        **{f"{name}, seconds": round(seconds, 4) for name, seconds in least.items()},
        "pairs per second": round(count / total, 2),
        "share of flow": round(least["flow"] / total, 3),
    }


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        return seconds_of(work, device)
    start = time.process_time()
    work()
    return time.process_time() - start


def measure() -> dict[str, Any]:
    """Return all figures of this file."""
    torch.manual_seed(0)
    return {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
        "threads": torch.get_num_threads(),
        "ResNet-18, frames of 160x213, views of 96x128, batch 6": shares(QUICK, 5),
        "ResNet-50, frames of 360x640, views of 256x512, batch "
        f"{LARGE['frames.batch_size']}": shares(LARGE, 1 if DEVICE == "cpu" else 5),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
