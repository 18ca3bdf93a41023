"""Results grouped over seeds, with mean and spread."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from representation.readout.comparison.measured import Measured, Place
from representation.readout.published import published
from representation.readout.published_table import Published
from selfflow.runs.run import to_json

NETWORK = ("architecture", "stride", "decoder")  # what of an encoder is shown by itself


@dataclass(frozen=True)
class Spread:
    """A score over seeds.

    Attributes:
        values: one for each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation, of a sample (n - 1); None of a single value."""
        count, mean = len(self.values), self.mean
        if count < 2:
            return None
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / (count - 1))


@dataclass(frozen=True)
class Group:
    """An encoder at a place, in one setting.

    Attributes:
        encoder: what its seeds share.
        place: where it was measured.
        changed: settings that decide the score and are not the protocol's (or, where nobody knows
            these, not those of the place's first result).
        scores: by name.
        seeds: of the readouts.
        paths: of the results.
    """

    encoder: Mapping[str, Any]
    place: Place
    changed: Mapping[str, Any]
    scores: Mapping[str, Spread]
    seeds: tuple[int, ...]
    paths: tuple[str, ...]


def grouped(results: Sequence[Measured]) -> list[Group]:
    """Return the groups of results that differ in seeds alone, in the order of the results."""
    members: dict[str, list[Measured]] = defaultdict(list)
    for each in results:
        same = (str(each.place), dict(each.deciding), dict(each.encoder))
        members[to_json(same)].append(each)
    first: dict[Place, Measured] = {}
    for each in results:
        first.setdefault(each.place, each)
    return [_group(group, first[group[0].place]) for group in members.values()]


def _group(members: Sequence[Measured], usual: Measured) -> Group:
    one = members[0]
    changed = one.changed
    if changed is None:
        changed = {
            key: value
            for key, value in one.deciding.items()
            if to_json(value) != to_json(usual.deciding.get(key))
        }
    shared = [name for name in one.scores if all(name in each.scores for each in members)]
    return Group(
        one.encoder,
        one.place,
        changed,
        {name: Spread(tuple(float(each.scores[name]) for each in members)) for name in shared},
        tuple(int(each.result.get("seed", 0)) for each in members),
        tuple(str(each.path) for each in members),
    )


def beside(results: Sequence[Measured]) -> dict[Place, list[Published]]:
    """Return the papers' rows for each place, where a result there has exactly their setting.

    None for quick results, and none where nobody knows the protocol's settings.
    """
    found: dict[Place, list[Published]] = {}
    for each in results:
        if each.place.quick or each.changed is None:
            continue
        place = each.place
        rows = published(
            place.task,
            place.protocol,
            place.data,
            each.result.get("data", {}),
            each.result["settings"],
            each.changed.keys(),
        )
        known = found.setdefault(place, [])
        known += [row for row in rows if row not in known]
    return {place: rows for place, rows in found.items() if rows}
