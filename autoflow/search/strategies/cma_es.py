"""CMA-ES in the unit cube (Hansen and Ostermeier 2001), by the `cmaes` package.

Nothing but the trials is stored. The state of the strategy is computed from them anew whenever it
is asked: the seeded generator draws generation by generation, and each is told what became of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import optuna
from numpy.typing import NDArray

from autoflow.search.results import TrialResult
from autoflow.search.strategies.job import Job
from autoflow.search.strategies.start import start_job
from autoflow.search.strategies.trials import by_key, outcome
from autoflow.space import Value, at, place, reflect
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import Parameter

if TYPE_CHECKING:
    from cmaes import CMA

_SEEDS = 2**32


@dataclass(frozen=True)
class CmaEs:
    """Generations of 4 + 3 ln n points for n parameters, around a mean that begins at the default.

    A generation begins when all trials of the one before have ended, so that more workers than its
    points have nothing to do. Only the order of a generation's trials counts: complete ones by Ω,
    then pruned ones by how far they came and Ω there, then failed ones.

    Points that leave the cube are mirrored into it, and the strategy is told where they were before
    that. Clipped they would pile up at the ends of ranges, near which many defaults lie; to draw
    again until all of some ninety coordinates are inside would take too long.

    Attributes:
        space: what is searched.
        spread: standard deviation of the first generation, as a share of each range.
        seed: of everything random.

    Raises:
        UserError: the package is missing.
    """

    space: Mapping[str, Parameter]
    spread: float
    seed: int

    def __post_init__(self) -> None:
        _package()  # said before anything is trained

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job | None:
        """Return the default set, then the next point of a generation; None while one runs."""
        known = by_key(trials)
        start = start_job(self.space, self.spread, self.seed, 0)
        if start.key not in known:
            return start
        strategy, generation = self._begin(), 0
        while True:
            places = [strategy.ask() for _ in range(strategy.population_size)]
            keys = [f"cma-es-{generation}-{index}" for index in range(len(places))]
            for key, where in zip(keys, places, strict=True):
                if key not in known:
                    return Job(key, self._point(where))
            told = [known[key] for key in keys]
            if any(trial.state == "running" for trial in told):
                return None
            self._tell(strategy, places, told)
            generation += 1

    def _begin(self) -> "CMA":
        mean = np.array([place(each, each.default) for each in self.space.values()])
        return _package()(mean=mean, sigma=self.spread, seed=self.seed % _SEEDS)

    def _point(self, where: NDArray[np.float64]) -> dict[str, Value]:
        places = zip(self.space.items(), where, strict=True)
        return {name: at(each, reflect(float(x))) for (name, each), x in places}

    def _tell(
        self, strategy: "CMA", places: list[NDArray[np.float64]], told: list[TrialResult]
    ) -> None:
        order = sorted(range(len(told)), key=lambda index: outcome(told[index]))
        tried = [self._tried(places[index], told[index].parameters) for index in order]
        strategy.tell([(where, float(rank)) for rank, where in enumerate(tried)])

    def _tried(
        self, where: NDArray[np.float64], parameters: Mapping[str, Value]
    ) -> NDArray[np.float64]:
        """Return the place of what was tried, which is `where` if it was proposed from there.

        Another machine's linear algebra may draw the mirror image of a point. What was tried then
        lies elsewhere, and the strategy learns from where it lies.
        """
        proposed = self._point(where)
        return np.array(
            [
                x if proposed[name] == parameters[name] else place(each, parameters[name])
                for (name, each), x in zip(self.space.items(), where, strict=True)
            ]
        )


def _package() -> type["CMA"]:
    try:
        from cmaes import CMA
    except ImportError:
        raise UserError(
            "strategy cma-es needs the package cmaes: pip install 'selfflow[cmaes]'"
        ) from None
    return CMA
