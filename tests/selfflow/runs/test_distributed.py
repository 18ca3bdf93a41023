"""Two processes on the CPU, against one that does the work of both."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from selfflow.runs.distributed import all_reduce_sum, average_gradients, rank, world_size
from selfflow.runs.loop import LoopSettings, Task, fit


class Plain(Task[Tensor]):
    def __init__(self) -> None:
        torch.manual_seed(1)
        self.network = nn.Linear(4, 1)
        self.frozen = nn.Linear(4, 1)
        self.modules = {"network": self.network, "frozen": self.frozen}

    def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        return {"loss": (self.network(batch) - batch.sum(1, keepdim=True)).square().mean()}


def batches(number: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


def train(accumulate: int) -> Tensor:
    task = Plain()
    fit(
        task,
        batches,
        optimizer=torch.optim.Adam([*task.network.parameters(), *task.frozen.parameters()]),
        learning_rate=lambda step: 0.1,
        settings=LoopSettings(steps=4, accumulate=accumulate),
    )
    return task.network.weight.detach()


def work(number: int, folder: Path) -> None:
    dist.init_process_group("gloo", f"file://{folder / 'meet'}", rank=number, world_size=2)
    assert (rank(), world_size()) == (number, 2)
    assert all_reduce_sum(torch.tensor([1.0, number])).tolist() == [2, 1]
    torch.save(train(accumulate=2), folder / f"{number}.pt")
    dist.destroy_process_group()


def test_alone_nothing_is_exchanged() -> None:
    assert (rank(), world_size()) == (0, 1)
    value = torch.tensor(2.0, requires_grad=True)
    assert all_reduce_sum(value) == 2
    assert not all_reduce_sum(value).requires_grad
    value.grad = torch.tensor(3.0)
    average_gradients([value])
    assert value.grad == 3


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batches(tmp_path: Path) -> None:
    multiprocessing.spawn(work, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (0, 1))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, train(accumulate=4))
