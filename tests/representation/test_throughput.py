import time
from typing import Any

import pytest
import torch
from torch import Tensor

from representation.stopwatch import Stopwatch
from representation.throughput import Throughput
from selfflow.runs.loop import Task

CPU = torch.device("cpu")


class Still(Task[Any]):
    modules: dict[str, Any] = {}  # noqa: RUF012

    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        return {"loss": torch.zeros(()), "valid": torch.tensor(0.25)}

    def figures(self) -> dict[str, float]:
        return {"own": 1.0}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_images_and_time_in_flow_are_counted_since_they_were_last_told(clock: Clock) -> None:
    watch = Stopwatch()
    # A step is 12 images in two batches.
    task = Throughput(Still(), 12, 2, watch)
    for step in (0, 0, 1):
        with watch.running(CPU):
            clock.now += 1
        clock.now += 2
        task.step(None, step)
    assert task.note() == "2 images/s, 33% in flow, 25% valid"
    assert task.figures() == {
        "own": 1.0,
        "images_per_second": pytest.approx(18 / 9),
        "share_of_time_in_flow": pytest.approx(1 / 3),
    }
    clock.now += 3
    task.step(None, 1)
    assert task.figures()["images_per_second"] == pytest.approx(6 / 3)
    assert task.figures()["share_of_time_in_flow"] == 0
    assert watch.seconds == 3


def test_without_flow_there_is_no_share(clock: Clock) -> None:
    task = Throughput(Still(), 4)
    task.step(None, 0)
    clock.now += 8
    assert task.figures() == {"own": 1.0, "images_per_second": 0.5}
