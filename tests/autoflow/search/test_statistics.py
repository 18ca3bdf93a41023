"""Spearman's rho, its interval, its p and the level of chance, against slow twins."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from autoflow.search.statistics import chance_level, rank_correlation


def slow_ranks(values: list[float]) -> list[float]:
    """1 is the smallest; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(o == value for o in values) + 1) / 2
        for value in values
    ]


def slow_rho(first: list[float], second: list[float]) -> float:
    x, y = slow_ranks(first), slow_ranks(second)
    mean = (len(x) + 1) / 2
    product = sum((a - mean) * (b - mean) for a, b in zip(x, y, strict=True))
    lengths = [math.sqrt(sum((a - mean) ** 2 for a in side)) for side in (x, y)]
    return product / (lengths[0] * lengths[1]) if all(lengths) else math.nan


def drawn(count: int, rho: float, seed: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, count))
    return x.tolist(), (rho * x + math.sqrt(1 - rho**2) * noise).tolist()


TIED = ([1.0, 1.0, 2.0, 5.0, 3.0, 3.0], [2.0, 4.0, 4.0, 9.0, 1.0, 2.0])


@pytest.mark.parametrize("pairs", [TIED, drawn(12, 0.5, 0), drawn(7, -0.8, 1)])
def test_rho_is_that_of_the_slow_twin_and_of_scipy(pairs: tuple[list[float], list[float]]) -> None:
    found = rank_correlation(*pairs)
    assert found is not None
    assert found.rho == pytest.approx(slow_rho(*pairs), abs=1e-12)
    assert found.rho == pytest.approx(spearmanr(*pairs).statistic, abs=1e-12)
    assert found.count == len(pairs[0])


@pytest.mark.parametrize("pairs", [TIED, drawn(6, 0.7, 3), drawn(5, -0.9, 1)])
def test_p_of_few_pairs_counts_all_orders(pairs: tuple[list[float], list[float]]) -> None:
    first, second = pairs
    seen = abs(slow_rho(first, second))
    orders = list(itertools.permutations(second))
    as_strong = sum(abs(slow_rho(first, list(each))) >= seen - 1e-12 for each in orders)
    found = rank_correlation(first, second)
    assert found is not None
    assert found.p == pytest.approx(as_strong / len(orders), abs=1e-12)


def test_p_of_many_pairs_is_close_to_that_of_students_distribution() -> None:
    for seed in range(3):
        pairs = drawn(40, 0.3, seed)
        found = rank_correlation(*pairs)
        assert found is not None
        assert found.p == pytest.approx(spearmanr(*pairs).pvalue, abs=0.02)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    first, second = drawn(20, 0.6, 0)
    rng = np.random.default_rng(1)
    rhos = []
    for _ in range(1000):
        rows = rng.integers(0, 20, 20)
        rhos.append(spearmanr(np.array(first)[rows], np.array(second)[rows]).statistic)
    found = rank_correlation(first, second)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(rhos, [0.025, 0.975]), abs=0.06)
    assert found.low < found.rho < found.high


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_interval_covers_the_truth_as_often_as_it_says(rho: float) -> None:
    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's rho of normal pairs
    covered = 0
    for seed in range(200):
        found = rank_correlation(*drawn(24, rho, seed), resamples=500)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 200 <= 0.995


def test_few_pairs_have_no_interval_to_speak_of() -> None:
    found = rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert found is not None
    assert (found.rho, found.low, found.high) == (pytest.approx(1), -1, 1)
    assert found.p == pytest.approx(2 / 120)


def test_resamples_without_any_order_are_left_out() -> None:
    # Most resamples of six pairs of which five are the same have one value only on a side.
    found = rank_correlation([0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1])
    assert found is not None
    assert (found.rho, found.low, found.high) == (
        pytest.approx(1),
        pytest.approx(1),
        pytest.approx(1),
    )


def test_values_that_are_none_are_left_out_in_pairs() -> None:
    first, second = drawn(10, 0.5, 0)
    spoilt = [math.nan, *first, 3.0], [1.0, *second, math.inf]
    assert rank_correlation(*spoilt) == rank_correlation(first, second)


def test_there_is_no_order_of_two_pairs_nor_of_equal_values() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([], []) is None
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert rank_correlation([1, 2, math.nan], [5, 6, 7]) is None


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        rank_correlation([1, 2, 3], [1, 2, 3, 4])


def test_the_same_values_give_the_same_answer_and_their_order_does_not_matter() -> None:
    first, second = drawn(30, 0.4, 0)
    found = rank_correlation(first, second)
    assert rank_correlation(first, second) == found
    assert found is not None
    turned = rank_correlation([-x for x in first], second)
    assert turned is not None
    assert turned.rho == pytest.approx(-found.rho)
    # A monotonous change of the values leaves their ranks.
    assert rank_correlation(np.exp(first).tolist(), second) == found


def test_chance_level_of_one_column_is_the_quantile_over_all_orders() -> None:
    column, values = drawn(6, 0.2, 0)
    rhos = [abs(slow_rho(column, list(order))) for order in itertools.permutations(values)]
    assert chance_level({"a": column}, values, resamples=20_000) == pytest.approx(
        np.quantile(rhos, 0.95), abs=0.03
    )


def test_chance_level_rises_with_the_columns_and_falls_with_the_values() -> None:
    rng = np.random.default_rng(0)
    many = {str(i): rng.normal(size=30).tolist() for i in range(60)}
    one = {"0": many["0"]}
    values = rng.normal(size=30).tolist()
    few = {name: column[:10] for name, column in many.items()}
    assert chance_level(one, values) < chance_level(many, values) < chance_level(few, values[:10])


def test_the_strongest_of_meaningless_columns_is_beyond_the_level_of_chance_one_time_in_twenty():
    beyond = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        columns = {str(i): rng.normal(size=15).tolist() for i in range(10)}
        values = rng.normal(size=15).tolist()
        strongest = max(abs(spearmanr(c, values).statistic) for c in columns.values())
        beyond += strongest > chance_level(columns, values, resamples=199)
    assert 1 <= beyond <= 13


def test_chance_level_of_nothing_is_one() -> None:
    assert chance_level({}, [1, 2, 3]) == 1
    assert chance_level({"a": [1, 1, 1]}, [1, 2, 3]) == 1
    assert chance_level({"a": [1, 2, 3]}, [4, 4, 4]) == 1
    assert chance_level({"a": [1, 2]}, [3, 4]) == 1
    assert chance_level({"a": []}, []) == 1
