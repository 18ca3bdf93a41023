"""What a search tries next: one file a strategy, all of them pure functions of the study so far."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoflow.search.strategies.cma_es import CmaEs
from autoflow.search.strategies.job import Job, Strategy
from autoflow.search.strategies.pbt import Pbt, PbtSettings
from autoflow.search.strategies.random import RandomSearch
from autoflow.search.strategies.tpe import Tpe
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import Parameter

if TYPE_CHECKING:
    from autoflow.search.settings import SearchSettings

__all__ = ["Job", "PbtSettings", "Strategy", "strategy_of"]


def strategy_of(settings: "SearchSettings", space: Mapping[str, Parameter]) -> Strategy:
    """Return the strategy that the settings name.

    Args:
        settings: of the search.
        space: what is searched.

    Raises:
        UserError: a population with too few trials to ever copy from its best.
    """
    spread, seed = settings.spread, settings.seed
    if settings.strategy == "random":
        return RandomSearch(space, seed)
    if settings.strategy == "cma-es":
        return CmaEs(space, spread, seed)
    if settings.strategy == "pbt":
        _check_generations(settings.trials, settings.pbt.members)
        return Pbt(space, settings.pbt, spread, seed)
    return Tpe(space, settings.startup, spread, seed)


def _check_generations(trials: int, members: int) -> None:
    if trials < 2 * members:
        raise UserError(
            f"strategy pbt: {trials} trials are less than two generations of {members} members; "
            f"use --trials {2 * members} or more, or fewer members (--set pbt.members=...)"
        )
