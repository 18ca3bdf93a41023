import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.queue import Queue
from selfflow.runs.distributed import process_group

Processes = Callable[..., list[int | None]]


def batch(number: int, size: int) -> Tensor:
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("size", [1, 3, 7, 10, 23])
def test_the_queue_is_a_list_whose_oldest_go(size: int):
    queue, length = Queue(10, 4), 10
    held: list[Tensor] = []
    for number in range(8):
        vectors = batch(number, size)
        queue.push(vectors)
        held = [*held, *F.normalize(vectors, dim=1)][-length:]
        place = int(queue.place)
        assert place == (number + 1) * size % length
        assert queue.held == len(held)
        # In a ring that is full the oldest comes after the youngest.
        start = place if len(held) == length else 0
        torch.testing.assert_close(queue.negatives().roll(-start, 0), torch.stack(held))


def test_it_starts_empty():
    assert Queue(10, 4).negatives().shape == (0, 4)


def test_it_goes_on_from_its_state():
    whole, first = Queue(10, 4), Queue(10, 4)
    for number in range(2):
        whole.push(batch(number, 4))
        first.push(batch(number, 4))
    second = Queue(10, 4)
    second.load_state_dict(first.state_dict())
    for queue in (whole, second):
        queue.push(batch(2, 4))
    assert torch.equal(whole.negatives(), second.negatives())
    assert torch.equal(whole.place, second.place)


def test_a_push_between_forward_and_backward_is_harmless():
    queue = Queue(10, 4)
    queue.push(batch(0, 7))
    query = torch.randn(3, 4, requires_grad=True)
    product = (query @ queue.negatives().T).sum()
    expected = queue.vectors.sum(0).expand(3, 4).clone()
    queue.push(query)
    product.backward()
    torch.testing.assert_close(query.grad, expected)
    assert not queue.vectors.requires_grad


def work(environment: dict[str, str], folder: Path) -> None:
    os.environ.update(environment)
    with process_group():
        queue, number = Queue(10, 4), int(environment["RANK"])
        for step in range(4):
            queue.push(batch(2 * step + number, 3))
        torch.save(queue.state_dict(), folder / f"{number}.pt")


@pytest.mark.slow
def test_all_processes_hold_the_vectors_of_all(processes: Processes, tmp_path: Path):
    assert processes(work, tmp_path) == [0, 0]
    queue = Queue(10, 4)
    for number in range(8):
        queue.push(batch(number, 3))
    for number in range(2):
        state = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert state.keys() == {"vectors", "place", "held"}
        for name, value in queue.state_dict().items():
            assert torch.equal(state[name], value)
