"""RAFT beside torchvision's: a training step and inference, in float32 and bfloat16.

Both run in turn in the same process on the same cores, so that what else the machine does meets
both alike; the ratio of the medians is what counts.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torchvision.models.optical_flow as torchvision_flow
from torch import Tensor, nn

from selfflow.raft import RAFT, raft_large, raft_small
from selfflow.runs.devices import keep_freed_memory

WARM_UP = 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run all in turn, `repeats` times; return the median seconds of each."""
    keep_freed_memory()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(WARM_UP + repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if repeat >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


@contextmanager
def _precision(name: str) -> Iterator[None]:
    with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=name == "bfloat16"):
        yield


def _training_step(
    network: nn.Module, flows: Callable[[], list[Tensor]], precision: str
) -> Callable[[], None]:
    def step() -> None:
        network.zero_grad()
        with _precision(precision):
            predictions = flows()
        sum(flow.abs().mean() for flow in predictions).backward()

    return step


def _inference(flow: Callable[[], object], precision: str) -> Callable[[], None]:
    def infer() -> None:
        with torch.no_grad(), _precision(precision):
            flow()

    return infer


def _twins(size: str) -> tuple[RAFT, nn.Module]:
    ours = raft_small() if size == "small" else raft_large()
    theirs = getattr(torchvision_flow, f"raft_{size}")(weights=None)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(DEVICE), theirs.to(DEVICE)


def training(batch: int = 4, height: int = 128, width: int = 160, iterations: int = 6) -> dict:
    """Measure a training step of RAFT small: seconds of each, and how many times as fast."""
    ours, theirs = _twins("small")
    image1, image2 = torch.rand(2, batch, 3, height, width, device=DEVICE)
    scaled = 2 * image1 - 1, 2 * image2 - 1
    contenders: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        contenders[f"torchvision {precision}"] = _training_step(
            theirs, lambda: theirs(*scaled, num_flow_updates=iterations), precision
        )
        contenders[f"selfflow {precision}"] = _training_step(
            ours, lambda: ours.predictions(image1, image2, iterations), precision
        )
    return _compared(interleaved(contenders, repeats=15))


def inference(size: str, height: int = 440, width: int = 1024, iterations: int = 6) -> dict:
    """Measure the flow of one pair, and for ours also both directions in one call."""
    ours, theirs = (network.eval() for network in _twins(size))
    image1, image2 = torch.rand(2, 1, 3, height, width, device=DEVICE)
    scaled = 2 * image1 - 1, 2 * image2 - 1
    contenders: dict[str, Callable[[], object]] = {
        "torchvision float32": _inference(
            lambda: theirs(*scaled, num_flow_updates=iterations), "float32"
        )
    }
    for precision in ("float32", "bfloat16"):
        contenders[f"selfflow {precision}"] = _inference(
            lambda: ours(image1, image2, iterations), precision
        )
    contenders["selfflow float32, both directions"] = _inference(
        lambda: ours.bidirectional(image1, image2, iterations), "float32"
    )
    return _compared(interleaved(contenders, repeats=3))


def _compared(seconds: dict[str, float]) -> dict:
    reference = seconds["torchvision float32"]  # of one direction
    ratios = {
        f"times as fast, {name}": (1 + name.endswith("both directions")) * reference / value
        for name, value in seconds.items()
    }
    return {name: round(value, 3) for name, value in (seconds | ratios).items()}


def measure() -> dict:
    """Return all figures of this file; the ratios are to torchvision in float32."""
    torch.manual_seed(0)
    return {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
        "threads": torch.get_num_threads(),
        "training step, small, 4x128x160, 6 iterations": training(),
        "inference, small, 440x1024, 6 iterations": inference("small"),
        "inference, large, 440x1024, 6 iterations": inference("large"),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
