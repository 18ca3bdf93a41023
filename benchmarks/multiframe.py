"""The small networks of multi-frame labels: many fitted at once beside one after the other.

Contenders run in turn in the same process on the same cores; the ratio of the medians is what
counts. On the CPU the process's own time is taken, so that other work on the machine does not
count. What is published fits one triplet at a time, at every pixel (stride 1).
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.raft import DEVICE
from selfflow.multiframe import FitSettings, Motions, fit_motion
from selfflow.random import key
from selfflow.runs.cost import peak_memory
from selfflow.runs.devices import keep_freed_memory

TRIPLETS = 8
STEPS = 20
REPEATS = 5


def motions(count: int, height: int, width: int) -> Motions:
    """Return smooth motions of `count` triplets, a tenth of their pixels hidden."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 2, 4, 4, generator=generator)
    forward = 5 * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    hidden = torch.rand(2, count, 1, height, width, generator=generator) < 0.1
    parts: tuple[Tensor, ...] = (forward, -0.9 * forward, ~hidden[0], ~hidden[1])
    return Motions(*(part.to(DEVICE) for part in parts))


def one_by_one(given: Motions, keys: Tensor, settings: FitSettings) -> Tensor:
    """Fit triplets one after the other."""
    parts = (given.forward, given.backward, given.ahead, given.behind)
    return torch.cat(
        [
            fit_motion(Motions(*(part[n : n + 1] for part in parts)), keys[n : n + 1], settings)
            for n in range(len(keys))
        ]
    )


def _now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def medians(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Run all in turn; return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(1 + REPEATS):
        for name, run in contenders.items():
            start = _now()
            run()
            if repeat:
                seconds[name].append(_now() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def fitting(height: int, width: int, stride: int) -> dict[str, float]:
    """Measure a fit of several triplets at one frame size and stride, in ms a triplet and step."""
    given, keys = motions(TRIPLETS, height, width), key(0, torch.arange(TRIPLETS)).to(DEVICE)
    settings = FitSettings(steps=STEPS, stride=stride)
    seconds = medians(
        {
            "one by one": lambda: one_by_one(given, keys, settings),
            "together": lambda: fit_motion(given, keys, settings),
        }
    )
    figures = {name: 1000 * total / TRIPLETS / STEPS for name, total in seconds.items()}
    figures["times as fast"] = seconds["one by one"] / seconds["together"]
    return {name: round(value, 3) for name, value in figures.items()}


def measure() -> dict:
    """Return all figures of this file."""
    keep_freed_memory()
    torch.manual_seed(0)
    height, width = (436, 1024) if DEVICE == "cuda" else (160, 284)
    figures = {
        f"fit of {TRIPLETS} triplets, {height}x{width}, stride {stride}, ms": fitting(
            height, width, stride
        )
        for stride in (8, 4, 2, 1)
    }
    return {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
        "threads": torch.get_num_threads(),
        **figures,
        "peak memory, GiB": round(peak_memory(torch.device(DEVICE)) / 2**30, 2),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
