"""One trial: a set of hyperparameters is proposed, a network trained on its scenes and measured."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
import torch
from optuna.trial import TrialState
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.objective import Measurement, is_finite, measure_target
from autoflow.pairs import TargetPairs
from autoflow.results import MEASUREMENTS, REASON, SECONDS
from autoflow.search_settings import SearchSettings
from autoflow.space import suggest
from autoflow.textures import PhotographBank
from autoflow.train import new_network, train_on_scenes
from selfflow.raft import RAFT
from selfflow.runs.errors import DivergedError, UserError
from selfflow.runs.parameter import Parameter


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share.

    Attributes:
        settings: of the search.
        pairs: on which Ω is measured.
        start: the default set, trial 0.
        space: what is searched.
        base: weights that trials start from; None: untrained ones.
        photographs: pictures to cut textures from, or None.
        device: where networks are trained.
    """

    settings: SearchSettings
    pairs: TargetPairs
    start: Hyperparameters
    space: Mapping[str, Parameter]
    base: Mapping[str, Tensor] | None
    photographs: PhotographBank | None
    device: torch.device

    def network(self) -> RAFT:
        """Return the network that a trial starts with, the same for all."""
        settings = self.settings
        network = new_network(settings.training.architecture, settings.seed, self.device)
        if self.base is not None:
            network.load_state_dict(self.base)
        return network


# The same scenes' numbers are drawn in all trials, so that their difference is that of their sets;
# they are not those that the base network has seen.
TRIAL_SCENES = 1_000_001


def run_trial(study: optuna.Study, trial: optuna.Trial, bench: Bench) -> None:
    """Train and measure what `trial` proposes, and tell the study how it ended.

    A trial that diverges, meets a NaN or cannot be run at all is told as failed, with the reason.
    """
    begun = time.monotonic()
    state, value, reason = TrialState.FAIL, None, ""
    try:
        value = _measure(trial, bench)
        state = TrialState.COMPLETE
    except optuna.TrialPruned as pruned:
        state, reason = TrialState.PRUNED, str(pruned)
    except (DivergedError, UserError, RuntimeError, ValueError, ArithmeticError) as error:
        # RuntimeError is also what torch raises, out of memory included.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    trial.set_user_attr(SECONDS, time.monotonic() - begun)
    trial.set_user_attr(REASON, reason)
    study.tell(trial, value, state)


def _measure(trial: optuna.Trial, bench: Bench) -> float:
    """Return Ω after the last step; TrialPruned, DivergedError if it does not get there."""
    settings = bench.settings
    hyperparameters = suggest(trial, bench.start, bench.space)
    network = bench.network()
    due = [rung.step for rung in settings.trial.ladder()]
    course: list[Measurement] = []

    def watch(step: int) -> None:
        if step not in due:
            return
        measured = measure_target(network, bench.pairs, settings.metric, step)
        if not is_finite(measured):
            raise DivergedError(f"Ω is not finite after {step} steps")
        course.append(measured)
        trial.set_user_attr(MEASUREMENTS, [each.as_dict() for each in course])
        trial.report(measured.omega, step)
        if step < due[-1] and trial.number > 0 and trial.should_prune():
            raise optuna.TrialPruned(f"hopeless after {step} of {due[-1]} steps")

    train_on_scenes(
        network,
        [hyperparameters],
        settings.trial.apply(settings.training, trained=bench.base is not None),
        seed=settings.seed + TRIAL_SCENES,
        photographs=bench.photographs,
        title=f"Trial {trial.number}",
        watch=watch,
    )
    return course[-1].omega
