"""The replay of searches from a table: against formulas, and by hand."""

from itertools import permutations

import pytest

from benchmarks.evidence.cost import Candidate, Way, expected, goal, halving, spent

FULLY = Way()


def candidates(references, short=None):
    rows = zip(references, short or [()] * len(references), strict=True)
    return {
        chr(97 + number): Candidate(reference, dict(zip((10, 20), values, strict=False)))
        for number, (reference, values) in enumerate(rows)
    }


def test_goal_is_a_share_of_the_gap_from_the_default_to_the_best():
    assert goal(4.0, candidates([3.5, 2.0, 5.0])) == pytest.approx(2.1)
    assert goal(4.0, candidates([3.5, 2.0, 5.0]), closed=0.5) == pytest.approx(3.0)
    assert goal(4.0, candidates([4.5])) == 4.0


@pytest.mark.parametrize("good", [1, 2, 5])
def test_training_every_set_fully_takes_what_the_formula_says(good):
    """The first of k good ones among n stands at (n + 1) / (k + 1) in the mean over all orders."""
    table = candidates([1.0] * good + [2.0] * (6 - good))
    orders = list(permutations(table))
    mean = sum(spent(order, table, 1.5, 100, FULLY) for order in orders) / len(orders)
    assert mean == pytest.approx(100 * 7 / (good + 1))


def test_halving_by_hand():
    """Four start; after 10 steps the two lowest, a and b, go on to 20; both are trained fully."""
    table = candidates([3.0, 2.9, 1.0, 2.0], [(0.1, 0.9), (0.2, 0.8), (0.3,), (0.4,)])
    way = Way(4, (10, 20), (2, 2))
    survivors = 4 * 10 + 2 * 10
    assert spent("abcd", table, 2.95, 100, way) == survivors + 100  # b, whose last Ω is lower
    assert spent("abcd", table, 1.5, 100, way) == survivors + 300  # then a, and c of the dropped
    assert spent("abcd", table, 3.0, 100, way) == survivors + 100
    table["d"] = Candidate(0.5, {10: 0.25})
    assert spent("abcd", table, 0.7, 100, way) == survivors + 300  # d was dropped before c


def test_groups_are_searched_one_after_the_other():
    table = candidates([3.0, 3.0, 1.0, 3.0], [(0.1,), (0.2,), (0.3,), (0.4,)])
    way = Way(2, (10,), (1,))
    assert spent("abcd", table, 1.0, 100, way) == 20 + 100 + 20 + 100
    assert spent("cdab", table, 1.0, 100, way) == 20 + 100
    assert spent("abc", table, 1.0, 100, way) == 20 + 100 + 10 + 100


def test_the_order_within_a_group_does_not_matter():
    table = candidates([3.0, 2.0, 1.0, 4.0], [(0.4, 0.1), (0.3, 0.2), (0.2, 0.3), (0.1, 0.4)])
    way = halving(4, (10, 20))
    assert len({spent(order, table, 1.0, 100, way) for order in permutations(table)}) == 1


def test_a_short_training_that_tells_nothing_is_no_gain_and_one_that_tells_all_is():
    references = [float(number) for number in range(8)]
    telling = candidates(references, [(r, r) for r in references])
    useless = candidates(references, [(-r, -r) for r in references])
    ways = {"fully": FULLY, "halving": halving(8, (10, 20))}
    helped = expected(telling, 0.0, 100, ways, orders=200)
    misled = expected(useless, 0.0, 100, ways, orders=200)
    assert helped["halving"] == 8 * 10 + 4 * 10 + 100
    assert helped["halving"] < helped["fully"] == misled["fully"] < misled["halving"]


def test_expected_depends_on_nothing_but_its_arguments():
    table = candidates([3.0, 2.0, 1.0])
    first = expected(table, 1.0, 100, {"fully": FULLY}, orders=50, seed=3)
    assert first == expected(table, 1.0, 100, {"fully": FULLY}, orders=50, seed=3)
    assert first["fully"] == pytest.approx(200, rel=0.2)


def test_halving_keeps_the_survivors_of_the_last_but_one_rung():
    assert halving(8, (10, 20, 30)) == Way(8, (10, 20, 30), (4, 2, 2))
    assert halving(5, (10,)) == Way(5, (10,), (3,))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no candidate reaches"):
        spent("ab", candidates([2.0, 3.0]), 1.0, 100, FULLY)
    for wrong in [(0, (), ()), (2, (10,), (0,)), (2, (10, 20), (1,))]:
        with pytest.raises(ValueError, match="at least one"):
            Way(*wrong)
