"""What the stages of training share: their first network, and the time that a step takes."""

from typing import TypeVar

import torch

from selfflow.models import load_network
from selfflow.raft import RAFT
from selfflow.runs.cost import seconds_of
from selfflow.runs.loop import LoopSettings
from selfflow.runs.task import Task
from selfflow.unsupervised import freeze_batch_norm

B = TypeVar("B")


def first_network(init: str, device: torch.device) -> RAFT:
    """Return the network that a stage starts from, to be trained, its batch norms frozen."""
    network = load_network(init)[0].to(device)
    network.train()
    freeze_batch_norm(network)
    return network


def seconds_a_step(
    task: Task[B], batch: B, step: int, loop: LoopSettings, device: torch.device
) -> float:
    """Return how long a batch takes, forwards and backwards; weights stay as they are."""

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=loop.precision == "bfloat16"):
            loss = task.step(batch, step)["loss"]
        loss.backward()

    work()  # the first one also makes buffers and chooses algorithms
    return seconds_of(work, device)
