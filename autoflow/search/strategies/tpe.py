"""Tree-structured Parzen estimator: Optuna's sampler, asked for a whole point at once.

Bergstra et al. (NeurIPS 2011) in the multivariate form of Falkner et al. (ICML 2018). A trial that
was pruned counts by how far it came and by its Ω there; one that is running counts as bad (the
constant liar), so that several workers spread out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoflow.search.results import TrialResult
from autoflow.search.snapshot import Snapshot
from autoflow.search.strategies.job import Job
from autoflow.search.strategies.start import start_job
from autoflow.search.strategies.trials import next_number
from autoflow.space import distributions
from selfflow.runs.parameter import Parameter

_SEEDS = 2**32


@dataclass(frozen=True)
class Tpe:
    """Points near the default set until `startup` trials have been measured, then the estimator.

    Attributes:
        space: what is searched.
        startup: complete or pruned trials that the estimator needs.
        spread: of the points near the default set, as a share of each range.
        seed: of everything random.
    """

    space: Mapping[str, Parameter]
    startup: int
    spread: float
    seed: int

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job:
        """Return the next point; there always is one."""
        number = next_number(trials)
        if sum(trial.state in ("complete", "pruned") for trial in trials) < self.startup:
            return start_job(self.space, self.spread, self.seed, number)
        counted = {trial.number for trial in trials}
        known = [t for t in study.get_trials(deepcopy=False) if t.number in counted]
        return Job(f"tpe-{number}", self._sample(known, (self.seed + number) % _SEEDS))

    def _sample(self, known: list[FrozenTrial], seed: int) -> dict[str, Any]:
        # In the search's own study the sampler would look at one bracket where the pruner is
        # Hyperband, though all trials inform the estimator, and note its proposal under the id of
        # the asking trial, which does not exist yet; a proposal is stored with its trial.
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            constant_liar=True,
            n_startup_trials=0,
            seed=seed,
        )
        asking = optuna.trial.create_trial(state=TrialState.RUNNING)
        study = optuna.create_study(storage=Snapshot(known), direction="minimize")
        return sampler.sample_relative(study, asking, distributions(self.space))
