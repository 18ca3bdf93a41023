import math

import pytest
import torch
from torch import Tensor

from representation.cycle import affinity, cycle, cycle_loss


def cells(*shape: int, seed: int = 0, grad: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    return made.requires_grad_(grad)


def softmax(values: list[Tensor]) -> list[Tensor]:
    total = sum(value.exp() for value in values)
    return [value.exp() / total for value in values]


def slow_cycle(own: Tensor, others: Tensor, negatives: Tensor, t: float) -> list[list[Tensor]]:
    """Return all N x (N + K) probabilities of one sample, by loops over equation 5."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())

    away = [softmax([cosine(c, d) / t for d in others]) for c in own]
    ends = [*own, *negatives]
    back = [softmax([cosine(d, c) / t for c in ends]) for d in others]
    return [
        [sum(away[i][j] * back[j][k] for j in range(len(others))) for k in range(len(ends))]
        for i in range(len(own))
    ]


@pytest.mark.parametrize("count", [0, 4])
@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_a_loop_over_the_equations_in_value_and_gradient(count: int, soft: bool):
    own, others = cells(2, 5, grad=True), cells(2, 7, seed=1, grad=True)
    negatives = cells(count, seed=2)
    targets = cells(2, 5, seed=3)[..., :5].softmax(2)
    losses = []
    for sample in range(2):
        way = slow_cycle(own[sample], others[sample], negatives, 0.3)
        for i, row in enumerate(way):
            assert sum(row).item() == pytest.approx(1)
            target = [*targets[sample, i], *[torch.tensor(0.0)] * count]
            if not soft:
                target = [torch.tensor(float(k == i)) for k in range(len(row))]
            terms = [q * (q / p).log() for q, p in zip(target, row, strict=True) if q > 0]
            losses.append(sum(terms))
    expected = torch.stack(losses).view(2, 5)
    returns = cycle(own, others, negatives if count else None, 0.3)
    found = cycle_loss(returns, targets if soft else None)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found.sum(), (own, others)),
        torch.autograd.grad(expected.sum(), (own, others)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_affinity_is_the_cosine():
    first = torch.tensor([[[3.0, 0.0], [1.0, 1.0]]])
    second = torch.tensor([[[0.0, 2.0]]])
    expected = torch.tensor([[[0.0], [math.sqrt(0.5)]]])
    torch.testing.assert_close(affinity(first, second), expected)


def test_two_cells_by_hand():
    """Unit vectors along the axes in both frames: each jump stays with e / (e + 1) at t = 1."""
    frame = torch.eye(2)[None]
    stay = math.e / (math.e + 1)
    expected = stay**2 + (1 - stay) ** 2
    returns = cycle(frame, frame, None, 1.0)
    torch.testing.assert_close(returns[0, 0, 0].item(), expected)
    torch.testing.assert_close(returns.sum(2), torch.ones(1, 2))
    # Negatives like the other cell take their share of the way back.
    away = cycle(frame, frame, torch.tensor([[0.0, 1.0]]), 1.0)[0, 0, 0].item()
    torch.testing.assert_close(away, stay * math.e / (math.e + 2) + (1 - stay) / (1 + 2 * math.e))


def test_the_order_of_the_other_cells_does_not_matter():
    own, others = cells(1, 5), cells(1, 7, seed=1)
    order = torch.tensor((3, 0, 6, 2, 5, 1, 4))
    torch.testing.assert_close(
        cycle(own, others[:, order], None, 0.1), cycle(own, others, None, 0.1)
    )


def test_the_soft_cycle_to_itself_is_the_hard_one_and_a_perfect_one_costs_nothing():
    returns = cycle(cells(1, 5), cells(1, 5, seed=1), cells(3, seed=2), 0.2)
    identity = torch.eye(5, dtype=torch.float64)[None]
    torch.testing.assert_close(cycle_loss(returns, identity), cycle_loss(returns))
    complete = returns / returns.sum(2, keepdim=True)
    torch.testing.assert_close(
        cycle_loss(complete, complete), torch.zeros(1, 5, dtype=torch.float64)
    )
    assert (cycle_loss(returns, identity.roll(1, 2)) > 0).all()


def test_low_temperatures_stay_finite_under_autocast():
    """The second cell is never come back to: e^-200 is zero in float32."""
    own = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    others = own.detach()[:, :1].expand(1, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        returns = cycle(own, others, None, 0.01)
        loss = cycle_loss(returns)
    assert returns.dtype == torch.float32
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), own)
    assert gradient.isfinite().all()
