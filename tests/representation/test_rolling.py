import pytest
import torch
from torch import nn

from representation.rolling import draw_shifts, roll
from selfflow.random import key


def test_rolling_is_equation_7():
    maps = torch.rand(3, 2, 4, 5)
    shifts = torch.tensor(((0, 0), (1, 3), (-2, 4)))
    found = roll(maps, shifts)
    for sample, (a, b) in enumerate(shifts.tolist()):
        for i in range(4):
            for j in range(5):
                expected = maps[sample, :, (i + a) % 4, (j + b) % 5]
                assert torch.equal(found[sample, :, i, j], expected)
    assert torch.equal(roll(found, -shifts), maps)


def test_a_rolled_gradient_comes_back():
    maps = torch.rand(2, 1, 4, 6, requires_grad=True)
    weights, shifts = torch.rand(2, 1, 4, 6), torch.tensor(((3, 1), (2, 5)))
    (roll(maps, shifts) * weights).sum().backward()
    assert maps.grad is not None
    assert torch.equal(maps.grad, roll(weights, -shifts))


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_network_on_the_torus_commutes_with_rolling(padding: str):
    """With zeros as padding it does not, which is what the rolling is for."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, padding_mode=padding),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 2, 1, padding_mode=padding),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 2, 1, padding_mode=padding),
    ).double()
    images = torch.rand(4, 3, 32, 48, dtype=torch.float64)
    shifts = draw_shifts(key(1, torch.arange(4)), 32, 48, 8)
    assert (shifts != 0).any()
    found = roll(network(roll(images, shifts)), -shifts // 8)
    equal = torch.allclose(found, network(images), rtol=0, atol=1e-12)
    assert equal == (padding == "circular")


def test_distances_are_whole_cells_anywhere_and_of_the_sample_alone():
    keys = key(3, torch.arange(400))
    shifts = draw_shifts(keys, 32, 48, 8)
    places, counts = torch.unique(shifts, dim=0, return_counts=True)
    assert places.tolist() == [[a, b] for a in range(0, 32, 8) for b in range(0, 48, 8)]
    assert counts.min() > 4
    assert torch.equal(draw_shifts(keys[7:9], 32, 48, 8), shifts[7:9])
    with pytest.raises(ValueError, match="whole cells"):
        draw_shifts(keys, 36, 48, 8)
