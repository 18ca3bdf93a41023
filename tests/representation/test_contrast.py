"""Contrastive losses against loops over every pair, in value and gradient, in float64."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from representation.contrast import info_nce, nt_xent
from selfflow.runs.distributed import process_group, rank

Processes = Callable[..., list[int | None]]


def vectors(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return drawn.requires_grad_()


def similarity(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm()) / temperature


def info_nce_by_hand(
    queries: Tensor, positives: Tensor, negatives: Tensor | None, temperature: float
) -> Tensor:
    losses = []
    for i, query in enumerate(queries):
        own = similarity(query, positives[i], temperature).exp()
        others = positives[torch.arange(len(positives)) != i] if negatives is None else negatives
        total = own + sum(similarity(query, other, temperature).exp() for other in others)
        losses.append(-(own / total).log())
    return torch.stack(losses)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("with_negatives", [True, False])
def test_info_nce_equals_a_loop(temperature: float, with_negatives: bool):
    queries, positives = vectors(0, 6), vectors(1, 6)
    negatives = vectors(2, 9) if with_negatives else None
    found = info_nce(queries, positives, negatives, temperature).loss
    expected = info_nce_by_hand(queries, positives, negatives, temperature)
    torch.testing.assert_close(found, expected)
    inputs = [t for t in (queries, positives, negatives) if t is not None]
    weights = torch.arange(6.0, dtype=torch.float64)
    gradients = torch.autograd.grad((found * weights).sum(), inputs)
    for a, b in zip(
        gradients, torch.autograd.grad((expected * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_positives_of_other_images_may_be_negatives_too():
    queries, positives, negatives = vectors(0, 6), vectors(1, 6), vectors(2, 9)
    images = torch.tensor((0, 0, 1, 1, 2, 2))
    found = info_nce(queries, positives, negatives, 0.2, images)
    for i in range(6):
        others = torch.cat((negatives, positives[images != images[i]]))
        expected = info_nce(queries[i : i + 1], positives[i : i + 1], others, 0.2)
        torch.testing.assert_close(found.loss[i : i + 1], expected.loss)
        assert found.first[i] == expected.first
    # Of one image there are no others.
    alone = info_nce(queries, positives, negatives, 0.2, torch.zeros(6))
    torch.testing.assert_close(alone.loss, info_nce(queries, positives, negatives, 0.2).loss)


def test_info_nce_keeps_its_precision_under_autocast():
    queries, positives, negatives = (vectors(n, 6).detach().float() for n in range(3))
    expected = info_nce(queries, positives, negatives, 0.07).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(queries, positives, negatives, 0.07).loss
    assert torch.equal(found, expected)
    low = info_nce(queries.bfloat16(), positives.bfloat16(), negatives.bfloat16(), 0.07).loss
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("with_negatives", [True, False])
def test_first_is_whose_positive_is_nearer_than_every_negative(with_negatives: bool):
    queries, positives = vectors(0, 40), vectors(0, 40) + 2 * vectors(1, 40)
    negatives = vectors(2, 9) if with_negatives else None
    expected = []
    for i, query in enumerate(queries):
        others = positives[torch.arange(40) != i] if negatives is None else negatives
        nearest = max(similarity(query, other, 1.0) for other in others)
        expected.append(bool(similarity(query, positives[i], 1.0) > nearest))
    assert 0 < sum(expected) < 40
    assert info_nce(queries, positives, negatives, 0.07).first.tolist() == expected


def test_a_collapsed_network_finds_none():
    same = torch.ones(4, 5)
    assert not info_nce(same, same, torch.ones(6, 5), 0.07).first.any()
    assert not nt_xent(same, same, 0.07).first.any()


def test_without_any_negative_there_is_nothing_to_learn():
    """As in the first step of a queue."""
    queries, positives = vectors(0, 6), vectors(1, 6)
    found = info_nce(queries, positives, queries.detach()[:0], 0.07)
    assert found.first.all()
    assert torch.equal(found.loss, torch.zeros(6, dtype=torch.float64))
    assert not torch.autograd.grad(found.loss.sum(), queries)[0].any()


def nt_xent_by_hand(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    everyone, count = [*first, *second], len(first)
    losses = []
    for i, own in enumerate(everyone):
        values = {
            j: similarity(own, other, temperature).exp()
            for j, other in enumerate(everyone)
            if j != i
        }
        losses.append(-(values[(i + count) % (2 * count)] / sum(values.values())).log())
    return torch.stack(losses)


@pytest.mark.parametrize("count", [1, 5])
def test_nt_xent_equals_a_loop(count: int):
    first, second = vectors(0, count), vectors(1, count)
    found, expected = nt_xent(first, second, 0.5).loss, nt_xent_by_hand(first, second, 0.5)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found.mean(), (first, second)),
        torch.autograd.grad(expected.mean(), (first, second)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def work(environment: dict[str, str], folder: Path) -> None:
    os.environ.update(environment)
    with process_group():
        first, second = (vectors(seed, 6).detach() for seed in (0, 1))
        part = slice(3 * rank(), 3 * rank() + 3)
        own = first[part].requires_grad_(), second[part].requires_grad_()
        loss = nt_xent(*own, 0.2).loss.mean()
        loss.backward()
        images = torch.tensor((0, 1, 1)) if rank() == 0 else torch.tensor((0, 0, 1))
        queued = info_nce(own[0], own[1].detach(), vectors(2, 9), 0.2, images).loss.detach()
        torch.save([loss.detach(), own[0].grad, own[1].grad, queued], folder / f"{rank()}.pt")


@pytest.mark.slow
def test_two_processes_contrast_with_each_other(processes: Processes, tmp_path: Path):
    assert processes(work, tmp_path) == [0, 0]
    parts = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)]
    first, second = vectors(0, 6), vectors(1, 6)
    loss = nt_xent(first, second, 0.2).loss.mean()
    loss.backward()
    torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, loss.detach())
    for place, whole in ((1, first), (2, second)):
        # Gradients are averaged over the processes after the backward pass.
        found = torch.cat([part[place] for part in parts]) / 2
        torch.testing.assert_close(found, whole.grad)
    images = torch.tensor((0, 1, 1, 2, 2, 3))
    expected = info_nce(first, second, vectors(2, 9), 0.2, images).loss
    torch.testing.assert_close(torch.cat([part[3] for part in parts]), expected)
