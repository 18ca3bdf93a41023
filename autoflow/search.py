"""The search: a base network, trials until there are enough, the files they amount to.

Stopped at any moment and started again with the same run folder, it goes on where it was.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.objective import check_metric, measure_target
from autoflow.pairs import choose_pairs, read_pairs, write_pairs
from autoflow.results import TrialResult, ranked, to_csv
from autoflow.search_settings import RANDOM, SearchSettings
from autoflow.sets import Mixture, read_hyperparameters
from autoflow.space import defaults, near, searched
from autoflow.study import ask, finished, open_study, recover
from autoflow.train import new_network, read_photographs, train_on_scenes
from autoflow.trial import Bench, run_trial
from selfflow.models import load_network, save
from selfflow.runs.config import replace_values, to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result
from selfflow.runs.run import Run, write_text
from selfflow.runs.store import read_model
from selfflow.video import open_target

TOP = 3
BASE = "base.safetensors"
Report = Callable[[TrialResult, list[TrialResult]], None]


def open_bench(settings: SearchSettings, path: Path, device: torch.device) -> Bench:
    """Return what the trials of a run share; the list of pairs is chosen once and stored.

    Args:
        settings: of the search.
        path: the run folder; its base network is taken if it has one.
        device: where networks are trained.
    """
    target = open_target(settings.target, settings.data_root)
    labelled = settings.metric.name == "aepe"
    if (path / "pairs.json").exists():
        pairs = read_pairs(path / "pairs.json", target, device)
    else:
        pairs = choose_pairs(
            target, settings.pairs, seed=settings.seed, labelled=labelled, device=device
        )
        write_pairs(path / "pairs.json", pairs)
    check_metric(settings.metric, pairs)
    start = read_hyperparameters(settings.hyperparameters)
    shared = settings.trial.start == "shared" and (path / BASE).exists()
    return Bench(
        settings=settings,
        pairs=pairs,
        start=start,
        space=searched(start, settings.only),
        base=read_model(path / BASE)[0] if shared else None,
        photographs=read_photographs(
            settings.training.photographs, settings.target, settings.data_root
        ),
        device=device,
    )


def make_base(settings: SearchSettings, bench: Bench, path: Path) -> dict[str, Tensor]:
    """Store the network that all trials start from, trained on the default set; return its weights.

    It is trained here, or one that already is (`base.init`) is taken, and trained on if wished.
    """
    base, result = settings.base, Result()
    trained = base.init != RANDOM
    if trained:
        network = load_network(base.init)[0].to(bench.device)
    else:
        network = new_network(settings.training.architecture, settings.seed, bench.device)
    if base.steps:
        training = base.apply(settings.training, trained=trained)
        with Run.open(path / "base", "train", training) as run:
            result = train_on_scenes(
                network,
                [bench.start],
                training,
                seed=settings.seed,
                photographs=bench.photographs,
                run=run,
                title="Base network",
            )
    measured = measure_target(network, bench.pairs, settings.metric)
    save(
        path / BASE,
        network,
        {
            **measured.as_dict(),
            "init": base.init,
            "steps": result.steps,
            "seconds": result.seconds,
        },
    )
    return read_model(path / BASE)[0]


def storage_of(settings: SearchSettings, path: Path) -> str:
    """Return the Optuna storage URL of a run."""
    return settings.storage or f"sqlite:///{(path / 'study.db').absolute()}"


def open_trials(settings: SearchSettings, bench: Bench, path: Path) -> optuna.Study:
    """Open the study of a run; its first trials are the default set and points around it."""
    first = [defaults(bench.space)]
    first += [
        near(bench.space, settings.spread, settings.seed, number)
        for number in range(1, settings.startup)
    ]
    ranges = {name: [each.low, each.high] for name, each in bench.space.items()}
    return open_study(
        storage_of(settings, path),
        settings.name,
        made_for=settings.made_for() | {"space": ranges},
        first_points=first,
        pruner=settings.make_pruner(),
    )


def run_next(study: optuna.Study, bench: Bench, owner: str) -> TrialResult:
    """Run the next trial of a study to its end and return it."""
    settings = bench.settings
    trial = ask(study, seed=settings.seed, startup=settings.startup, owner=owner)
    run_trial(study, trial, bench)
    return next(each for each in finished(study) if each.number == trial.number)


def run_trials(
    study: optuna.Study, bench: Bench, *, owner: str, report: Report | None = None
) -> list[TrialResult]:
    """Run trials in this process until the study has as many as the settings ask for."""
    begun = time.monotonic()
    while may_start(study, bench.settings, begun):
        result = run_next(study, bench, owner)
        if report is not None:
            report(result, finished(study))
    return finished(study)


def may_start(study: optuna.Study, settings: SearchSettings, begun: float) -> bool:
    """Return whether a further trial is wanted and the budget allows it."""
    spent = time.monotonic() - begun
    in_time = settings.budget is None or spent < settings.budget
    return in_time and len(finished(study)) < settings.trials


def write_results(path: Path, bench: Bench, trials: list[TrialResult]) -> list[Hyperparameters]:
    """Write `best.toml`, `top3.toml` and `trials.csv`; return the best sets, the best first.

    Raises:
        UserError: no trial is complete.
    """
    write_text(path / "trials.csv", to_csv(trials))
    order = ranked(trials)[:TOP]
    if not order:
        reasons = [trial.reason for trial in trials if trial.reason]
        raise UserError(f"no trial of {path} is complete ({reasons[0] if reasons else 'none run'})")
    sets = [replace_values(bench.start, trial.parameters) for trial in order]
    origins = [
        f"# Search {bench.settings.name} on {bench.settings.target}: "
        f"trial {trial.number}, Ω {trial.omega:.5g}\n"
        for trial in order
    ]
    write_text(path / "best.toml", origins[0] + to_toml(sets[0]))
    write_text(path / "top3.toml", "".join(origins) + to_toml(Mixture(sets=tuple(sets))))
    return sets


@contextmanager
def sole_owner(path: Path) -> Iterator[None]:
    """Hold a run folder; UserError while another process does.

    The lock goes with the process, however it ends, so a running trial of this folder that is
    found under the lock is one whose process is gone.
    """
    with (path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: a search is at work in this folder") from None
        yield


def clean_up(study: optuna.Study, bench: Bench, owner: str) -> int:
    """Queue the trials again that ended with their process; see `autoflow.study.recover`."""
    alone = bench.settings.storage is None
    return recover(study, owner=owner, alone=alone, default=defaults(bench.space))


def summary(bench: Bench, trials: list[TrialResult]) -> dict[str, Any]:
    """Return the search's outcome for JSON."""
    order = ranked(trials)
    default = next((trial for trial in order if trial.number == 0), None)
    return {
        "target": bench.settings.target,
        "metric": bench.settings.metric.name,
        "trials": len(trials),
        **{s: sum(t.state == s for t in trials) for s in ("complete", "pruned", "failed")},
        "best_trial": order[0].number if order else None,
        "best": order[0].last.as_dict() if order and order[0].last else None,
        "default": default.last.as_dict() if default and default.last else None,
    }
