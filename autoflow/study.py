"""The Optuna study: opened, checked, continued after any end, asked for the next trial."""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoflow.results import REASON, TrialResult, read_trials
from autoflow.space import Value
from selfflow.runs.errors import UserError

OWNER = "owner"
RETRIES = "retries"
MADE_FOR = "made_for"
MOST_RETRIES = 2

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(
    storage: str,
    name: str,
    *,
    made_for: Mapping[str, Any],
    first_points: Sequence[Mapping[str, Value]],
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Create a study, or open it where it was left.

    Args:
        storage: an Optuna storage URL.
        name: of the study in its storage.
        made_for: what trials of one study have in common, such as target and search space.
        first_points: tried first, in this order; the first is the default set.
        pruner: which trials to give up.

    Raises:
        UserError: no such storage, or its study was made for something else.
    """
    try:
        study = optuna.create_study(
            study_name=name,
            storage=_storage(storage),
            direction="minimize",
            pruner=pruner,
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy's and the drivers' own kinds
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--storage {storage}: cannot be opened ({reason})") from None
    wanted = json.loads(json.dumps(made_for))
    known = study.user_attrs.get(MADE_FOR)
    if known is None:
        study.set_user_attr(MADE_FOR, wanted)
        for point in first_points:
            study.enqueue_trial(dict(point))
    else:
        _check_same(name, known, wanted)
    return study


def read_study(storage: str, name: str) -> optuna.Study:
    """Open a study to look at it, whatever the settings say by now.

    Raises:
        UserError: no such storage or study.
    """
    try:
        return optuna.load_study(study_name=name, storage=_storage(storage))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{storage}: study {name} cannot be opened ({reason})") from None


def _storage(url: str) -> optuna.storages.RDBStorage:
    # Several processes write to one SQLite file; each waits for its turn.
    patient = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    return optuna.storages.RDBStorage(url, engine_kwargs=patient)


def _check_same(name: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in dict.fromkeys([*known, *wanted]):
        before, now = known.get(key), wanted.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            key = f"{key}: {next(k for k in {**before, **now} if before.get(k) != now.get(k))}"
        elif max(len(str(before)), len(str(now))) < 40:
            key = f"{key} {before}, not {now}"
        raise UserError(f"study {name} was made for another {key}; choose another --out or --name")


def ask(study: optuna.Study, *, seed: int, startup: int, owner: str) -> optuna.Trial:
    """Return the next trial: one that waits, or what TPE proposes from the trials so far.

    The sampler is seeded by the number of trials, so that a search that was stopped and started
    again proposes what it would have proposed.
    """
    count = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(
        multivariate=True, constant_liar=True, n_startup_trials=startup, seed=seed + count
    )
    trial = study.ask()
    trial.set_user_attr(OWNER, owner)
    return trial


def recover(study: optuna.Study, *, owner: str, alone: bool, default: Mapping[str, Value]) -> int:
    """Put the trials of a process that is gone back into the queue; return their number.

    Their records stay, as failed without a reason, which `read_trials` leaves out.

    Args:
        study: to be cleaned.
        owner: whose trials they are; nobody of that name may be at work.
        alone: whether trials that nobody has claimed are this owner's, too.
        default: the point of trial 0.
    """
    running = study.get_trials(states=(TrialState.RUNNING,))
    dead = [t for t in running if t.user_attrs.get(OWNER, owner if alone else None) == owner]
    for trial in dead:
        study.tell(trial.number, state=TrialState.FAIL)
        _again(study, trial, trial.params or (default if trial.number == 0 else {}))
    return len(dead)


def _again(study: optuna.Study, trial: FrozenTrial, point: Mapping[str, Value]) -> None:
    retries = trial.user_attrs.get(RETRIES, 0)
    if not point:
        return
    if retries < MOST_RETRIES:
        study.enqueue_trial(dict(point), user_attrs={RETRIES: retries + 1})
        return
    reason = f"its process ended {retries + 1} times without a word (out of memory?)"
    given_up = optuna.trial.create_trial(
        state=TrialState.FAIL,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={REASON: reason},
    )
    study.add_trial(given_up)


def finished(study: optuna.Study) -> list[TrialResult]:
    """Return the trials that came to an end of their own."""
    return [trial for trial in read_trials(study) if trial.state != "running"]
