import math

import pytest
import torch
from torch import Tensor

from selfflow import correlation
from selfflow.correlation import LEVELS, correlate


def features(height: int = 9, width: int = 11, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 2, channels, height, width)
    first, second = torch.randn(shape, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def positions(height: int = 9, width: int = 11) -> Tensor:
    """Positions inside, at the edge, outside and far outside the frame."""
    generator = torch.Generator().manual_seed(1)
    spread = torch.randn(2, 2, height, width, generator=generator, dtype=torch.float64)
    spread[0, :, 0, 0] = 1e6
    spread[0, :, 0, 1] = torch.tensor((width - 1.0, height - 1.0))
    return 5 + 4 * spread


def slow_lookup(first: Tensor, second: Tensor, places: Tensor, radius: int) -> Tensor:
    """Point by point: pool the volume, read bilinearly, x before y."""
    batch, channels, height, width = first.shape
    volume = torch.einsum("bcij,bckl->bijkl", first, second) / math.sqrt(channels)
    result = []
    for level in range(LEVELS):
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                for b in range(batch):
                    for i in range(height):
                        for j in range(width):
                            x, y = (places[b, :, i, j] / 2**level).tolist()
                            result.append(bilinear(volume[b, i, j], x + dx, y + dy))
        pooled = volume[..., : volume.shape[-2] // 2 * 2, : volume.shape[-1] // 2 * 2]
        volume = (
            pooled[..., ::2, ::2]
            + pooled[..., 1::2, ::2]
            + pooled[..., ::2, 1::2]
            + pooled[..., 1::2, 1::2]
        ) / 4
    stacked = torch.stack(result).view(-1, batch, height, width)
    return stacked.transpose(0, 1)


def bilinear(image: Tensor, x: float, y: float) -> Tensor:
    total = image.new_zeros(())
    left, top = math.floor(x), math.floor(y)
    for column in (left, left + 1):
        for row in (top, top + 1):
            if 0 <= column < image.shape[1] and 0 <= row < image.shape[0]:
                total = total + image[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


@pytest.fixture(params=["held", "on demand"])
def volume_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    # Several chunks, the last one shorter.
    monkeypatch.setattr(correlation, "CHUNK_BYTES", 2 * 8 * 130 * 40)
    return 10**9 if request.param == "held" else 0


def test_a_lookup_equals_reading_the_pooled_volume_point_by_point(volume_bytes: int) -> None:
    first, second = features()
    places = positions()
    (found,) = correlate(first, second, 1, volume_bytes=volume_bytes)
    values, _ = found.lookup(places)
    expected = slow_lookup(first, second, places, 1)
    torch.testing.assert_close(values, expected)
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad((values * weights).sum(), (first, second))
    slow = torch.autograd.grad((expected * weights).sum(), (first, second))
    torch.testing.assert_close(gradients, slow)


def test_gradients_of_lookups_in_a_row_add_up(volume_bytes: int) -> None:
    first, second = features()
    places = positions()

    def separate(shift: float) -> Tensor:
        (fresh,) = correlate(first, second, 2, volume_bytes=volume_bytes)
        return fresh.lookup(places + shift)[0].square().sum()

    (found,) = correlate(first, second, 2, volume_bytes=volume_bytes)
    total = first.new_zeros(())
    for shift in (0.0, 0.4, 1.3):
        values, found = found.lookup(places + shift)
        total = total + values.square().sum()
    gradients = torch.autograd.grad(total, (first, second))
    one_by_one = separate(0.0) + separate(0.4) + separate(1.3)
    torch.testing.assert_close(gradients, torch.autograd.grad(one_by_one, (first, second)))


def test_both_directions_equal_two_correlations(volume_bytes: int) -> None:
    first, second = features()
    places = positions()
    forward, backward = correlate(first, second, 2, volume_bytes=volume_bytes, both=True)
    (swapped,) = correlate(second, first, 2, volume_bytes=volume_bytes)
    (straight,) = correlate(first, second, 2, volume_bytes=volume_bytes)
    torch.testing.assert_close(forward.lookup(places)[0], straight.lookup(places)[0])
    torch.testing.assert_close(backward.lookup(places)[0], swapped.lookup(places)[0])
    both = forward.lookup(places)[0].square().sum() + backward.lookup(places)[0].square().sum()
    apart = straight.lookup(places)[0].square().sum() + swapped.lookup(places)[0].square().sum()
    torch.testing.assert_close(
        torch.autograd.grad(both, (first, second)), torch.autograd.grad(apart, (first, second))
    )


def test_the_volume_is_held_once_for_both_directions() -> None:
    first, second = features()
    forward, backward = correlate(first, second, 2, volume_bytes=10**9, both=True)
    assert isinstance(forward.source, correlation.AllPairs)
    assert isinstance(backward.source, correlation.AllPairs)
    assert forward.source.fine.data_ptr() == backward.source.fine.data_ptr()


def test_positions_that_are_not_numbers_are_read_without_an_error(volume_bytes: int) -> None:
    first, second = features()
    (found,) = correlate(first, second, 2, volume_bytes=volume_bytes)
    values, _ = found.lookup(torch.full((2, 2, 9, 11), torch.nan, dtype=torch.float64))
    assert values.isnan().all()
