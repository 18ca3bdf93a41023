"""Population-based training (Jaderberg et al. 2017), with which AutoFlow searched.

Members train in turns, a trial each turn. Between turns the worst copy network and hyperparameters
of the best (truncation selection) and change the hyperparameters a little. So a network sees a
schedule of training sets, and none starts from the beginning for every set that is tried.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
import torch
from pydantic import Field

from autoflow.search.results import TrialResult
from autoflow.search.strategies.job import Job
from autoflow.search.strategies.trials import by_key, outcome
from autoflow.space import Value, at, defaults, near, place, reflect
from selfflow.random import chance, integers, key, purpose
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import Parameter


class PbtSettings(Config):
    """A population, and how it changes from one generation to the next."""

    members: int = Field(10, ge=2, description="networks that are trained side by side")
    exploited: float = Field(
        0.2, gt=0, le=0.5, description="share of members that copy, and share that are copied"
    )
    redrawn: float = Field(
        0.25, ge=0, le=1, description="probability that a copied hyperparameter is drawn anew"
    )
    perturbation: float = Field(
        0.1, gt=0, le=1, description="change of those that are not, as a share of the range"
    )


@dataclass(frozen=True)
class Pbt:
    """Generation 0 is the default set and points near it; the next ones follow from their results.

    The best of a generation come first in the next, so that a search that ends amid a generation
    has gone on with the best.

    Deviations from Jaderberg et al.:
    - A perturbed hyperparameter moves by a share of its range (of the logarithm's, where equal
      ratios matter), up or down, mirrored at the ends. Factors of 0.8 and 1.2 would never leave 0,
      which many ranges contain. A whole number moves by one at least; what is true or false
      changes only when it is drawn anew.
    - Members wait for each other. The original compares a member with what the others have reached
      at that moment; here Ω is only compared after equally many steps. It costs idle workers at
      the end of a generation.
    - A member whose trial failed or was pruned copies, too.

    Attributes:
        space: what is searched.
        settings: of the population.
        spread: of the points near the default set, as a share of each range; also of what is drawn
            anew, since those points are the distribution that the population came from.
        seed: of everything random.
    """

    space: Mapping[str, Parameter]
    settings: PbtSettings
    spread: float
    seed: int

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job | None:
        """Return the next member's turn; None while a generation's last trials are running.

        Raises:
            UserError: no member of a generation reached its end.
        """
        known = by_key(trials)
        members = range(self.settings.members)
        before: dict[int, TrialResult] = {}
        for generation in itertools.count():
            turns = {member: known.get(_key(member, generation)) for member in members}
            for member in sorted(members, key=lambda m: outcome(before[m]) if before else m):
                if turns[member] is None:
                    return self._turn(member, generation, before)
            before = {member: trial for member, trial in turns.items() if trial is not None}
            if any(trial.state == "running" for trial in before.values()):
                return None
        raise AssertionError("generations do not end")

    def _turn(self, member: int, generation: int, before: Mapping[int, TrialResult]) -> Job:
        name = _key(member, generation)
        if not before:
            return Job(name, self._drawn(member) if member else defaults(self.space))
        number = generation * self.settings.members + member
        source = self._source(member, number, before)
        parameters = before[source].parameters
        if source != member:
            parameters = self._explored(parameters, number)
        return Job(name, parameters, before[source].number, generation)

    def _source(self, member: int, number: int, before: Mapping[int, TrialResult]) -> int:
        """Return the member whose network and hyperparameters `member` goes on with."""
        order = sorted(before, key=lambda m: outcome(before[m]))
        count = max(1, int(self.settings.exploited * len(order)))
        best = [m for m in order[:count] if before[m].state == "complete"]
        if not best:
            reason = before[order[0]].reason
            raise UserError(f"strategy pbt: no member of a generation reached its end ({reason})")
        if member not in order[-count:] and before[member].state == "complete":
            return member
        draw = purpose(key(self.seed, torch.tensor([number])), "exploit")
        return best[int(integers(draw, 0, len(best)))]

    def _explored(self, parameters: Mapping[str, Value], number: int) -> dict[str, Value]:
        names = torch.tensor([zlib.crc32(name.encode()) for name in self.space])
        keys = purpose(key(self.seed, torch.tensor([number])), "explore", names)
        redrawn = chance(purpose(keys, "redraw"), self.settings.redrawn).tolist()
        upwards = chance(purpose(keys, "direction"), 0.5).tolist()
        fresh, size = self._drawn(number), self.settings.perturbation
        return {
            name: fresh[name] if anew else _moved(each, parameters[name], size if up else -size)
            for (name, each), anew, up in zip(self.space.items(), redrawn, upwards, strict=True)
        }

    def _drawn(self, number: int) -> dict[str, Value]:
        return near(self.space, self.spread, self.seed, number)


def member_of(key: str) -> int:
    """Return the member whose turn a job of this strategy is, by its key."""
    return int(key.split("-")[1])


def _key(member: int, generation: int) -> str:
    return f"member-{member}-generation-{generation}"


def _moved(each: Parameter, value: Value, size: float) -> Value:
    """Return a value moved by `size` of its range, which is negative downwards."""
    moved = at(each, reflect(place(each, value) + size))
    if each.kind is int and moved == value:
        step = 1 if size > 0 else -1
        return value + step if each.low <= value + step <= each.high else value - step
    return moved
