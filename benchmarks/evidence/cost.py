"""What it costs to find a good set, replayed from a table of trainings that were all done.

Each set of the table has a reference, Ω after a full training from nothing, and Ω at the rungs of a
short training from a shared network. A way of searching takes the sets in some order and spends
steps until a full training reaches the goal; that is replayed exactly, for many random orders.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLOSED = 0.95  # share of the gap between a reference to begin with and the best one


@dataclass(frozen=True)
class Candidate:
    """What is known of a set.

    Attributes:
        reference: Ω after a full training.
        short: Ω by steps of the short training.
    """

    reference: float
    short: Mapping[int, float]


@dataclass(frozen=True)
class Way:
    """A way of searching: groups of sets are trained shortly, the best of each group fully.

    Attributes:
        group: sets that are compared with each other at a time.
        steps: of the short training at which the group is ranked; none: no short training.
        kept: how many of the group are left after each of them; the last ones are trained fully.
    """

    group: int = 1
    steps: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.group < 1 or min(self.kept, default=1) < 1 or len(self.steps) != len(self.kept):
            raise ValueError("a group, and what is kept of it, are at least one set")


def halving(group: int, steps: Sequence[int]) -> Way:
    """Return successive halving: half of the group goes on after each rung but the last."""
    kept = [-(-group // 2 ** (number + 1)) for number in range(len(steps))]
    return Way(group, tuple(steps), (*kept[:-1], kept[-2] if len(kept) > 1 else kept[-1]))


def goal(start: float, candidates: Mapping[str, Candidate], closed: float = CLOSED) -> float:
    """Return the reference that closes a share of the gap from a reference to the best one."""
    best = min(start, *(each.reference for each in candidates.values()))
    return start - closed * (start - best)


def spent(
    order: Sequence[str],
    candidates: Mapping[str, Candidate],
    reach: float,
    full: float,
    way: Way,
) -> float:
    """Return the steps that a way of searching takes until a reference is at most `reach`.

    Groups are formed in the given order. Of each, the survivors are trained fully, the one with
    the lowest last Ω first. If no survivor reaches the goal, those that were dropped are trained
    fully too: those that came farthest first, then those with the lower Ω.

    Args:
        order: names of all candidates.
        candidates: the table.
        reach: the goal.
        full: steps of a full training.
        way: how it is searched.

    Raises:
        ValueError: no candidate reaches the goal.
    """
    steps_taken = 0.0
    dropped: list[tuple[int, float, str]] = []

    def reached(name: str) -> bool:
        nonlocal steps_taken
        steps_taken += full
        return candidates[name].reference <= reach

    for first in range(0, len(order), way.group):
        alive, trained = list(order[first : first + way.group]), 0
        for steps, kept in zip(way.steps, way.kept, strict=True):
            steps_taken += len(alive) * (steps - trained)
            trained = steps
            alive.sort(key=lambda name: candidates[name].short[trained])
            dropped += [(-steps, candidates[name].short[steps], name) for name in alive[kept:]]
            alive = alive[:kept]
        if any(reached(name) for name in alive):
            return steps_taken
    if any(reached(name) for _, _, name in sorted(dropped)):
        return steps_taken
    raise ValueError("no candidate reaches the goal")


def expected(
    candidates: Mapping[str, Candidate],
    reach: float,
    full: float,
    ways: Mapping[str, Way],
    *,
    orders: int = 5000,
    seed: int = 0,
) -> dict[str, float]:
    """Return the mean of `spent` for each way, over the same random orders."""
    shuffle, names = random.Random(seed), sorted(candidates)
    totals = dict.fromkeys(ways, 0.0)
    for _ in range(orders):
        shuffle.shuffle(names)
        for title, way in ways.items():
            totals[title] += spent(names, candidates, reach, full, way)
    return {title: total / orders for title, total in totals.items()}
