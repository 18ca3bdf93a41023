"""Random numbers against a twin in Python's integers, and against chance."""

import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from selfflow.random import bits, chance, integers, key, normal, purpose, uniform

seeds = st.integers(0, 2**63)
KEYS = key(0, torch.arange(2000))


def mix(x: int) -> int:
    """lowbias32, written as its author does, in 32-bit arithmetic."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def slow_key(seed: int, index: int) -> int:
    state = mix(seed % 2**32 ^ 0x9E3779B9)
    for part in (seed // 2**32 % 2**32, index % 2**32, index // 2**32):
        state = mix(state ^ part)
    return state


@given(seeds, st.integers(0, 2**62), st.text(max_size=5), st.integers(0, 2**31), st.integers(0, 9))
def test_keys_and_bits_are_the_twins(
    seed: int, index: int, name: str, number: int, position: int
) -> None:
    keys = key(seed, torch.tensor([index]))
    assert keys.item() == slow_key(seed, index)
    child = mix(mix(keys.item() ^ zlib.crc32(name.encode())) ^ number)
    assert purpose(keys, name, number).item() == child
    expected = mix(mix(keys.item() ^ mix(position ^ 0x85EBCA6B)) ^ position)
    assert bits(keys, 10)[0, position].item() == expected


def test_the_stream_is_fixed_forever() -> None:
    """Data sets are addressed by seed and index: these values may never change."""
    assert key(7, torch.tensor([0, 1])).tolist() == [993596527, 2266099036]


@given(seeds, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_numbers_depend_on_the_sample_not_on_the_batch(seed: int, indices: list[int]) -> None:
    together = purpose(key(seed, torch.tensor(indices)), "shape", 3)
    for i, index in enumerate(indices):
        alone = purpose(key(seed, torch.tensor([index])), "shape", 3)
        assert torch.equal(uniform(together, 2, 3)[i : i + 1], uniform(alone, 2, 3))
        assert torch.equal(normal(together, 5)[i : i + 1], normal(alone, 5))
        assert torch.equal(integers(together, 0, 9)[i : i + 1], integers(alone, 0, 9))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    normal(KEYS, 3), integers(KEYS, 0, 2), chance(KEYS, 0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_shapes() -> None:
    keys = key(0, torch.arange(5))
    for draw in (
        bits(keys, 2, 3),
        uniform(keys, 2, 3),
        normal(keys, 2, 3),
        chance(keys, 0.5, 2, 3),
    ):
        assert draw.shape == (5, 2, 3)
    assert uniform(keys).shape == integers(keys, 0, 3).shape == (5,)
    children = purpose(keys[:, None], "layer", torch.arange(4))
    assert children.shape == (5, 4)
    assert torch.equal(children[:, 2], purpose(keys, "layer", 2))
    assert uniform(children, 3).shape == (5, 4, 3)


def draws() -> dict[str, Tensor]:
    """Uniform numbers along each of the ways in which two of them can differ."""
    first = key(0, torch.tensor([0]))
    return {
        "positions": uniform(first, 20_000)[0],
        "samples": uniform(key(0, torch.arange(20_000))),
        "seeds": torch.cat([uniform(key(seed, torch.tensor([0]))) for seed in range(2_000)]),
        "numbers": uniform(purpose(first, "layer", torch.arange(20_000))),
        "purposes": torch.cat([uniform(purpose(first, f"purpose {i}")) for i in range(2_000)]),
    }


@pytest.mark.parametrize(("way", "values"), draws().items())
def test_numbers_are_uniform_and_neighbours_independent(way: str, values: Tensor) -> None:
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3, way
    for lag in (1, 2, 3, 7, 64):
        pairs = (torch.stack((values[:-lag], values[lag:])) * 8).long()
        counts = torch.bincount(pairs[0] * 8 + pairs[1], minlength=64)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4, (way, lag)


def test_every_bit_is_fair_and_each_pair_of_bits_independent() -> None:
    drawn = bits(KEYS, 10).flatten()
    each = torch.stack([(drawn >> i) & 1 for i in range(32)]).double()
    assert (each.mean(1) - 0.5).abs().max() < 5 * 0.5 / len(drawn) ** 0.5
    correlation = torch.corrcoef(each) - torch.eye(32)
    assert correlation.abs().max() < 5 / len(drawn) ** 0.5


def test_samples_do_not_share_keys() -> None:
    assert len(key(3, torch.arange(200_000)).unique()) == 200_000


def test_different_purposes_are_uncorrelated() -> None:
    rows = [uniform(purpose(KEYS, name)) for name in ("x", "y", "shape", "texture")]
    rows += [uniform(purpose(KEYS, "x", 1)), uniform(key(1, torch.arange(2000))), uniform(KEYS)]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert correlation.abs().max() < 5 / 2000**0.5


def test_uniform_stays_in_its_range() -> None:
    values = uniform(KEYS, 50, low=-3, high=5)
    assert values.min() >= -3
    assert values.max() < 5
    assert stats.kstest(values.flatten().numpy(), "uniform", (-3, 8)).pvalue > 1e-3


def test_normal_is_normal() -> None:
    values = normal(KEYS, 50).flatten()
    assert values.isfinite().all()
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3


@given(seeds, st.integers(-100, 100), st.integers(1, 200))
def test_integers_stay_in_their_range(seed: int, low: int, count: int) -> None:
    values = integers(key(seed, torch.arange(50)), low, low + count)
    assert values.min() >= low
    assert values.max() < low + count


def test_integers_take_every_value_equally_often() -> None:
    counts = torch.bincount(integers(KEYS, 0, 7, 20).flatten())
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_chance_has_its_probability() -> None:
    assert not chance(KEYS, 0.0, 10).any()
    assert chance(KEYS, 1.0, 10).all()
    assert chance(KEYS, 0.3, 50).float().mean() == pytest.approx(0.3, abs=0.01)
    per_sample = chance(KEYS, torch.linspace(0, 1, 2000))
    assert per_sample[:1000].float().mean() == pytest.approx(0.25, abs=0.06)
    assert per_sample[1000:].float().mean() == pytest.approx(0.75, abs=0.06)


def test_impossible_requests_are_programming_errors() -> None:
    with pytest.raises(ValueError, match="negative"):
        key(-1, torch.arange(2))
    with pytest.raises(ValueError, match="empty"):
        integers(KEYS, 3, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_numbers() -> None:
    there = KEYS.cuda()
    assert torch.equal(key(0, torch.arange(2000, device="cuda")).cpu(), KEYS)
    assert torch.equal(purpose(there, "x", 3).cpu(), purpose(KEYS, "x", 3))
    assert torch.equal(bits(there, 50).cpu(), bits(KEYS, 50))
    assert torch.equal(integers(there, -5, 9, 50).cpu(), integers(KEYS, -5, 9, 50))
    assert torch.equal(chance(there, 0.5, 50).cpu(), chance(KEYS, 0.5, 50))
    torch.testing.assert_close(uniform(there, 50, low=-2).cpu(), uniform(KEYS, 50, low=-2))
    torch.testing.assert_close(normal(there, 50).cpu(), normal(KEYS, 50), atol=1e-5, rtol=1e-5)
