"""What distinguishes the best sets from the default, in the hyperparameters' words and units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult
from autoflow.space import Value, place
from selfflow.runs.parameter import Parameter

_ENDS = {"low": "smallest", "high": "largest"}
_ALIKE = ("background", "foreground")  # groups with the same hyperparameters


@dataclass(frozen=True)
class Change:
    """A hyperparameter of some sets beside its default.

    Attributes:
        parameter: which one; its default is the default set's value.
        values: of the sets.
    """

    parameter: Parameter
    values: tuple[Value, ...]

    @property
    def default_place(self) -> float:
        """Where the default lies in the range, from 0 to 1."""
        return place(self.parameter, self.parameter.default)

    @property
    def places(self) -> tuple[float, ...]:
        """Where the values lie in the range."""
        return tuple(place(self.parameter, value) for value in self.values)

    @property
    def moves(self) -> tuple[float, ...]:
        """How far the sets are from the default, as shares of the range, negative below it."""
        return tuple(each - self.default_place for each in self.places)

    @property
    def meaning(self) -> str:
        """What the hyperparameter does; of a range, which of its ends it is."""
        group, _, rest = self.parameter.name.partition(".")
        end = _ENDS.get(rest.rpartition(".")[2])
        meaning = f"{self.parameter.meaning}, {end}" if end else self.parameter.meaning
        return f"{group}: {meaning}" if group in _ALIKE else meaning

    def as_shown(self) -> dict[str, Any]:
        """Return the change as the table of a page shows it; places in percent of the range."""
        return {
            "name": self.parameter.name,
            "meaning": self.meaning,
            "unit": self.parameter.unit,
            "default": shown(self.parameter.default),
            "default_place": 100 * self.default_place,
            "values": [shown(value) for value in self.values],
            "places": [100 * where for where in self.places],
        }

    def as_row(self) -> Row:
        """Return the change as columns of a table."""
        each = self.parameter
        row: Row = {
            "parameter": each.name,
            "meaning": self.meaning,
            "unit": each.unit,
            "low": each.low,
            "high": each.high,
            "logarithmic": each.log,
            "default": each.default,
            "default_place": self.default_place,
        }
        for number, (value, where) in enumerate(zip(self.values, self.places, strict=True), 1):
            row |= {f"value_{number}": value, f"place_{number}": where}
        return row


def in_order(parameters: Mapping[str, Value]) -> dict[str, Value]:
    """Return parameters with the ends of each pair in order, as the sets have them.

    A search draws the ends independently; a set takes the smaller one as the lower.
    """
    found = dict(parameters)
    for low in [name for name in found if name.endswith(".low")]:
        high = low.removesuffix("low") + "high"
        if high in found and found[low] > found[high]:
            found[low], found[high] = found[high], found[low]
    return found


def ordered(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return trials whose parameters are in order."""
    return [replace(trial, parameters=in_order(trial.parameters)) for trial in trials]


def changes(sets: Sequence[Mapping[str, Value]], space: Mapping[str, Parameter]) -> list[Change]:
    """Return every hyperparameter that all sets have, the one in which they moved furthest first.

    A direction in which all of them went says more than one that a single one took: it is the mean
    of their moves that counts.
    """
    found = [
        Change(each, tuple(chosen[name] for chosen in sets))
        for name, each in space.items()
        if sets and all(name in chosen for chosen in sets)
    ]
    return sorted(found, key=lambda change: -abs(sum(change.moves)))


def largest_of(number: int, found: Sequence[Change], count: int) -> list[Change]:
    """Return the changes of set `number` alone that are the largest of its own, not all zero."""
    moved = [change for change in found if change.moves[number] != 0]
    return sorted(moved, key=lambda change: -abs(change.moves[number]))[:count]


def in_words(change: Change, number: int) -> dict[str, str]:
    """Return a change of set `number` as text: what, from, to, unit, and where in the range."""
    return {
        "name": change.parameter.name,
        "meaning": change.meaning,
        "default": shown(change.parameter.default),
        "value": shown(change.values[number]),
        "unit": change.parameter.unit,
        "move": f"{percent(change.moves[number], 0)} of its range, "
        f"now at {100 * change.places[number]:.0f}\u00a0%",
    }


def shown(value: Value) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else f"{value:.3g}".replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """Return a change as a person reads it: "+12.5 %", "−3.0 %"."""
    return f"{100 * share:+.{digits}f}\u00a0%".replace("-", "−")
