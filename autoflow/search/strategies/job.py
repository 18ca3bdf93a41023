"""What a strategy proposes: a point to try, and the network that is trained on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from autoflow.search.results import TrialResult
from autoflow.space import Value


@dataclass(frozen=True)
class Job:
    """A trial to come.

    Attributes:
        key: its name, unique in its study: "start-0", "tpe-17", "member-2-generation-1".
        parameters: a value for every parameter of the space.
        parent: number of the trial whose network it starts from; None: the search's own start.
        generation: how many trials its network has been through before.
    """

    key: str
    parameters: Mapping[str, Value]
    parent: int | None = None
    generation: int = 0


class Strategy(Protocol):
    """What to try next."""

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job | None:
        """Return the next job; None: nothing can be said before a running trial has ended.

        A pure function of what is in the study: asked twice, or by two workers, or after a stop,
        it proposes the same.

        Args:
            study: as it is stored.
            trials: all of it that counts, the running ones included, in order of their numbers.
        """
        ...
