import math

import pytest
import torch

from representation.lars import Lars


def lars_by_hand(
    weights: list[float], gradients: list[list[float]], *, adapt: bool, decay: float
) -> list[float]:
    """LARS in plain numbers: BYOL's order, learning rate outside the buffer."""
    buffer = [0.0] * len(weights)
    for gradient in gradients:
        if adapt:
            gradient = [g + decay * w for g, w in zip(gradient, weights, strict=True)]
            size = math.sqrt(sum(w * w for w in weights))
            steepness = math.sqrt(sum(g * g for g in gradient))
            trust = 1e-3 * size / steepness if size > 0 and steepness > 0 else 1.0
            gradient = [trust * g for g in gradient]
        buffer = [0.9 * b + g for b, g in zip(buffer, gradient, strict=True)]
        weights = [w - 0.3 * b for w, b in zip(weights, buffer, strict=True)]
    return weights


@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("start", [[0.5, -1.5, 2.0], [0.0, 0.0, 0.0]])
def test_lars_equals_ten_scalar_lines(adapt: bool, decay: float, start: list[float]):
    gradients = [[0.2, -0.1, 0.4], [0.0, 0.0, 0.0], [-0.3, 0.5, 0.1]]
    parameter = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = Lars([{"params": [parameter], "adapt": adapt}], lr=0.3, weight_decay=decay)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    expected = lars_by_hand(start, gradients, adapt=adapt, decay=decay)
    torch.testing.assert_close(parameter.tolist(), expected)


def test_steps_do_not_depend_on_the_scale_of_the_gradient():
    results = []
    for scale in (1.0, 1e3):
        weight = torch.ones(4, 4, requires_grad=True)
        optimizer = Lars([weight], lr=1.0, weight_decay=0.0)
        weight.grad = scale * torch.arange(16.0).view(4, 4)
        optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1])


def test_the_state_survives_saving():
    def run(optimizer: Lars, weight: torch.Tensor, steps: range) -> None:
        for step in steps:
            weight.grad = torch.full((3, 3), float(step + 1)) + weight.detach()
            optimizer.step()

    whole = torch.ones(3, 3, requires_grad=True)
    run(Lars([whole], lr=0.5), whole, range(6))
    half = torch.ones(3, 3, requires_grad=True)
    first = Lars([half], lr=0.5)
    run(first, half, range(3))
    second = Lars([half], lr=0.5)
    second.load_state_dict(first.state_dict())
    run(second, half, range(3, 6))
    assert torch.equal(half, whole)
