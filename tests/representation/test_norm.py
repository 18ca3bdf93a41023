"""Synchronised and split normalisation against torch's own on the whole batch, or on its parts."""

import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from representation.norm import (
    SplitBatchNorm2d,
    SyncBatchNorm2d,
    shuffled,
    split,
    synchronise,
)
from representation.resnet import ResNet
from selfflow.random import key
from selfflow.runs.distributed import average_gradients, process_group, rank
from selfflow.runs.errors import UserError

Processes = Callable[..., list[int | None]]
KEY = key(0, torch.tensor(7))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)
    )


def images(count: int = 8) -> Tensor:
    drawn = torch.randn(count, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    return drawn * torch.linspace(0.5, 3, count).view(-1, 1, 1, 1) + 2


def trained(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return output, gradients, averaged over the processes, and statistics after two passes."""
    for _ in range(2):
        x = x.detach().requires_grad_()
        y = model(x)
        weights = torch.linspace(-1, 1, y[0].numel()).view(y[0].shape)
        model.zero_grad()
        (y * weights).square().mean().backward()
    average_gradients(model.parameters())
    gradients = {f"gradient {name}": p.grad for name, p in model.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **gradients, **dict(model.named_buffers())}


def work(environment: dict[str, str], folder: Path) -> None:
    os.environ.update(environment)
    with process_group():
        own = images()[4 * rank() : 4 * rank() + 4]
        together = trained(synchronise(network()), own)
        parts = trained(split(network(), 4), own)
        keys = shuffled(split(network(), 2), own, KEY)
        torch.save((together, parts, keys), folder / f"{rank()}.pt")


@pytest.mark.slow
def test_two_processes_equal_one(processes: Processes, tmp_path: Path):
    """Synchronised: torch's of the whole batch. Split and shuffled: as in one process."""
    assert processes(work, tmp_path) == [0, 0]
    halves = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)]
    whole = trained(network(), images()), trained(split(network(), 4), images())
    for number, (expected, exact) in enumerate(zip(whole, (True, False), strict=True)):
        first, second = halves[0][number], halves[1][number]
        torch.testing.assert_close(torch.cat((first["y"], second["y"])), expected["y"])
        # The loss is a mean over the batch; each process takes that of its own half.
        torch.testing.assert_close(torch.cat((first["x"], second["x"])) / 2, expected["x"])
        for name, value in expected.items():
            if name.startswith("gradient") or ("running" in name and exact):
                torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
                torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)
    keys = torch.cat((halves[0][2], halves[1][2]))
    torch.testing.assert_close(keys, shuffled(split(network(), 2), images(), KEY))


def test_alone_synchronised_normalisation_is_torchs():
    expected, found = (trained(model, images()) for model in (network(), synchronise(network())))
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_split_normalisation_equals_torchs_on_each_part():
    model, parts = split(network(), 4), [network() for _ in range(4)]
    found = trained(model, images())
    expected = [
        trained(part, images()[2 * number : 2 * number + 2]) for number, part in enumerate(parts)
    ]
    torch.testing.assert_close(found["y"], torch.cat([each["y"] for each in expected]))
    torch.testing.assert_close(4 * found["x"], torch.cat([each["x"] for each in expected]))
    for name, value in found.items():
        if name.startswith("gradient") or "running" in name:
            mean = torch.stack([each[name] for each in expected]).mean(0)
            torch.testing.assert_close(value, mean, rtol=1e-4, atol=1e-6)
    assert int(found["1.num_batches_tracked"]) == 2


def test_evaluation_uses_the_running_statistics():
    for change in (synchronise, lambda model: split(model, 4)):
        expected, found = network(), change(network())
        for model in (expected, found):
            model[1].running_mean.fill_(0.3)
        assert torch.equal(found.eval()(images()), expected.eval()(images()))


def test_networks_keep_weights_and_statistics():
    encoder = ResNet("resnet18")
    before = {name: value.data_ptr() for name, value in encoder.state_dict().items()}
    optimized = [id(p) for p in encoder.parameters()]
    synchronise(encoder)
    kinds = {type(m) for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)}
    assert kinds == {SyncBatchNorm2d}
    assert {name: value.data_ptr() for name, value in encoder.state_dict().items()} == before
    assert [id(p) for p in encoder.parameters()] == optimized
    parts = synchronise(split(ResNet("resnet18"), 2))
    assert {type(m) for m in parts.modules() if isinstance(m, nn.BatchNorm2d)} == {SplitBatchNorm2d}


def test_other_kinds_of_normalisation_are_refused():
    for other in (nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False)):
        with pytest.raises(UserError, match=type(other).__name__):
            synchronise(nn.Sequential(other))


def test_batches_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="a batch of 8 cannot be divided into 3"):
        split(network(), 3)(images())


def test_shuffled_outputs_come_back_in_the_order_of_the_images():
    seen: list[Tensor] = []

    def record(x: Tensor) -> Tensor:
        seen.append(x)
        return 2 * x

    x = images()
    torch.testing.assert_close(shuffled(record, x, KEY), 2 * x)
    assert not torch.equal(seen[0], x)
    torch.testing.assert_close(seen[0].flatten(1).sum(1).sort()[0], x.flatten(1).sum(1).sort()[0])
    shuffled(record, x, key(0, torch.tensor(8)))
    assert not torch.equal(seen[0], seen[1])


def test_shuffling_gives_keys_other_statistics_than_queries():
    """A key's output then says nothing about which part of the batch its query was in."""
    model = split(network(), 4)
    same, other = copy.deepcopy(model)(images()), shuffled(model, images(), KEY)
    assert not torch.allclose(same, other)
    together = network()
    torch.testing.assert_close(shuffled(together, images(), KEY), network()(images()).detach())
