"""Random search: after the default set, points drawn evenly from the whole space."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
import torch

from autoflow.search.results import TrialResult
from autoflow.search.strategies.job import Job
from autoflow.search.strategies.start import start_job
from autoflow.search.strategies.trials import next_number
from autoflow.space import Value, at
from selfflow.random import key, purpose, uniform
from selfflow.runs.parameter import Parameter


@dataclass(frozen=True)
class RandomSearch:
    """Bergstra and Bengio (JMLR 2012): no trial depends on another.

    Attributes:
        space: what is searched.
        seed: of the points.
    """

    space: Mapping[str, Parameter]
    seed: int

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job:
        """Return the default set, then point after point."""
        number = next_number(trials)
        if number == 0:
            return start_job(self.space, 0.0, self.seed, 0)
        return Job(f"random-{number}", anywhere(self.space, self.seed, number))


def anywhere(space: Mapping[str, Parameter], seed: int, number: int) -> dict[str, Value]:
    """Return point `number` of those spread evenly over the unit cube of `space.place`."""
    names = torch.tensor([zlib.crc32(name.encode()) for name in space])
    keys = purpose(key(seed, torch.tensor([number])), "random search", names)
    places = zip(space.items(), uniform(keys).tolist(), strict=True)
    return {name: at(each, place) for (name, each), place in places}
