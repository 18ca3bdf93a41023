"""The space that is searched: every hyperparameter, its range, and points around a start."""

import math
import zlib
from collections.abc import Mapping, Sequence

import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from autoflow.hyperparameters import Hyperparameters
from selfflow.random import key, normal, purpose
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import Parameter, parameters

Value = float | int | bool


def searched(start: Hyperparameters, only: Sequence[str] = ()) -> dict[str, Parameter]:
    """Return what is searched: all hyperparameters, or those below the names in `only`.

    Args:
        start: its values are the parameters' defaults.
        only: dotted names of parameters or groups, "background" or "effects.fog".

    Raises:
        UserError: a name in `only` is none.
    """
    every = {name: p for name, p in parameters(start).items() if p.low < p.high}
    for prefix in only:
        if not any(_below(name, prefix) for name in every):
            groups = sorted({name.partition(".")[0] for name in every})
            raise UserError(f"only: {prefix} is no hyperparameter; the groups are {groups}")
    return {n: p for n, p in every.items() if not only or any(_below(n, each) for each in only)}


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's form of the space."""
    return {name: _distribution(each) for name, each in space.items()}


def _distribution(each: Parameter) -> BaseDistribution:
    if each.kind is bool:
        return CategoricalDistribution([False, True])
    if each.kind is int:
        return IntDistribution(int(each.low), int(each.high), log=each.log)
    return FloatDistribution(each.low, each.high, log=each.log)


def defaults(space: Mapping[str, Parameter]) -> dict[str, Value]:
    """Return the start itself as a point of the space."""
    return {name: each.default for name, each in space.items()}


def near(space: Mapping[str, Parameter], spread: float, seed: int, number: int) -> dict[str, Value]:
    """Return point `number` around the start: each parameter normal, `spread` of its range wide.

    Points of a space of some seventy dimensions drawn evenly are all far from a sensible start; a
    search of few trials does better to begin around it. What would leave the range is reflected.
    """
    names = torch.tensor([zlib.crc32(name.encode()) for name in space])
    draws = normal(purpose(key(seed, torch.tensor([number])), "search", names)).tolist()
    return {
        name: at(each, reflect(place(each, each.default) + spread * draw))
        for (name, each), draw in zip(space.items(), draws, strict=True)
    }


def reflect(value: float) -> float:
    """Return a place anywhere on the line, mirrored at the ends of [0, 1] until it is inside."""
    value = abs(value) % 2
    return 2 - value if value > 1 else value


def place(each: Parameter, value: float) -> float:
    """Return where a value lies in its range, from 0 to 1."""
    if each.log:
        return math.log(value / each.low) / math.log(each.high / each.low)
    return (value - each.low) / (each.high - each.low)


def at(each: Parameter, where: float) -> Value:
    """Return the value at `where` in [0, 1] of a range; the inverse of `place`."""
    if each.kind is bool:
        return where >= 0.5
    ratio = each.high / each.low if each.log else 1.0
    value = each.low * ratio**where if each.log else each.low + where * (each.high - each.low)
    value = min(max(value, each.low), each.high)
    return round(value) if each.kind is int else value
