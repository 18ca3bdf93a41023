"""Which trials are given up: Optuna's pruners, asked about the trials that count."""

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from autoflow.search.results import KEY, counted
from autoflow.search.settings import SearchSettings
from autoflow.search.snapshot import Snapshot


class Pruning:
    """A pruner to which a rung is a power of its reduction factor, and a trial one of its key.

    Optuna's pruners take steps for resources in exact powers, draw a trial's bracket from its
    number and count all trials, those that were cut off included. Here a trial that is tried again
    stays in its bracket, with its rungs, and Ω is compared with Ω at the same rung alone.

    Args:
        settings: of the search. The factor follows from the first two rungs: after 1/9 and 1/3
            of the steps it is 3.
    """

    def __init__(self, settings: SearchSettings) -> None:
        steps = [rung.step for rung in settings.ladder()]
        factor = max(2, round(steps[1] / steps[0])) if len(steps) > 1 else 2
        self._pruner = _pruner(settings.trial.pruner, factor, len(steps))
        self._resources = {step: factor**rung for rung, step in enumerate(steps)}

    def is_hopeless(self, study: optuna.Study, trial_id: int) -> bool:
        """Return whether a trial is to be given up after its last measurement."""
        if self._pruner is None:
            return False
        trials = counted(study.get_trials(deepcopy=False))
        seen = [_seen(each, self._resources) for each in trials]
        asking = next(copy.copy(each) for each in seen if each._trial_id == trial_id)
        # The best of several rungs, which the median pruner would take, is no measure of this one.
        step = max(asking.intermediate_values)
        asking.intermediate_values = {step: asking.intermediate_values[step]}
        view = optuna.create_study(study_name=study.study_name, storage=_View(study, seen))
        return self._pruner.prune(view, asking)


def _pruner(name: str, factor: int, rungs: int) -> BasePruner | None:
    if name == "none" or rungs == 1:
        return None
    if name == "hyperband":
        # One more than the last rung's, against the rounding of the logarithm that counts brackets.
        return HyperbandPruner(1, factor ** (rungs - 1) + 1, factor)
    if name == "halving":
        return SuccessiveHalvingPruner(1, factor)
    return MedianPruner(n_startup_trials=4, n_min_trials=3)


def _seen(trial: FrozenTrial, resources: Mapping[int, int]) -> FrozenTrial:
    """Return a trial with resources for steps and a number that all trials of its key share."""
    seen = copy.copy(trial)
    seen.number = zlib.crc32(trial.user_attrs[KEY].encode())
    values = trial.intermediate_values
    seen.intermediate_values = {resources[s]: v for s, v in values.items() if s in resources}
    return seen


class _View(Snapshot):
    """Trials as a pruner is to see them; what it notes about one goes to the study itself."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        super().__init__(trials)
        self._study = study

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._study._storage.set_trial_system_attr(trial_id, key, value)
