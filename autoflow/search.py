"""The search: a base network, trials until there are enough, the files they amount to.

Stopped at any moment and started again with the same run folder, it goes on where it was.
"""

import fcntl
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import StorageInternalError
from torch import Tensor

from autoflow.entry import Entry
from autoflow.hyperparameters import Hyperparameters
from autoflow.ledger import Ledger
from autoflow.objective import check_metric, measure_target
from autoflow.pairs import choose_pairs, read_pairs, write_pairs
from autoflow.results import TrialResult, ranked, read_trials, to_csv
from autoflow.search_settings import RANDOM, SearchSettings
from autoflow.sets import Mixture, read_hyperparameters
from autoflow.space import distributions, searched
from autoflow.strategies import strategy_of
from autoflow.study import digest, open_study
from autoflow.train import new_network, read_photographs, train_on_scenes
from autoflow.trial import Bench, Start, run_trial
from autoflow.trial_folder import TOP, TrialFolder, tidy
from selfflow.models import load_network, save
from selfflow.runs.config import replace_values, to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result
from selfflow.runs.run import Run, write_text
from selfflow.runs.store import read_model
from selfflow.video import open_target

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
    """Open the study of a run.

    Raises:
        UserError: it cannot be opened, or was made for other settings, another space, other pairs
            or another base network.
    """
    ranges = {name: [each.low, each.high] for name, each in bench.space.items()}
    lists = {"list of pairs": bench.pairs.digest, "base network": _digest(bench.base)}
    return open_study(
        storage_of(settings, path),
        settings.name,
        made_for=settings.made_for() | {"space": ranges} | lists,
    )


def _digest(weights: Mapping[str, Tensor] | None) -> str | None:
    if weights is None:
        return None
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def work(
    study: optuna.Study,
    bench: Bench,
    path: Path,
    *,
    owner: str,
    deadline: float | None = None,
    report: Report | None = None,
) -> None:
    """Run trials in this process until all that the settings ask for have come to an end.

    Args:
        study: whose trials; other processes may work on it, too.
        bench: what trials share.
        path: the run folder.
        owner: this process, `registered` under that name.
        deadline: `time.time()` after which no trial is begun; one that runs stops at its next step,
            and is gone on with when the search is continued. None: none.
        report: told of each trial that has ended here, and of all that count.

    Raises:
        UserError: the storage is out of reach, or what a trial needs cannot be read or written.
    """
    settings = bench.settings
    ledger = Ledger(study, path, owner, distributions(bench.space), settings.trials)
    strategy = strategy_of(settings, bench.space)
    pauses = _pauses()
    try:
        while not (_is_past(deadline) or ledger.is_complete()):
            entry = ledger.take(strategy)
            if entry is None:
                time.sleep(next(pauses))
                continue
            run_trial(entry, bench, _start(entry, path), deadline)
            trials = read_trials(study)
            tidy(path, trials, settings)
            ended = [trial for trial in trials if trial.number == entry.trial.number]
            if report is not None and ended:
                report(ended[0], trials)
            pauses = _pauses()
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        where = storage_of(settings, path)
        raise UserError(f"{where} is out of reach ({reason}); the same command goes on") from None


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and time.time() >= deadline


def _pauses() -> Iterator[float]:
    """Yield the seconds to wait while others run the last trials, longer and longer."""
    for count in itertools.count():
        yield min(2.0, 0.05 * 1.5**count)


def _start(entry: Entry, path: Path) -> Start:
    trial, parent = entry.trial, None
    note: dict[str, Any] = {"study": digest(entry.study), "parameters": dict(trial.parameters)}
    if trial.parent is not None:
        key = next(t.key for t in read_trials(entry.study) if t.number == trial.parent)
        note["parent"] = key
        parent = TrialFolder.of(path, key).network
        if not parent.exists():
            entry.stop()
            raise UserError(f"{parent} is missing; workers of one population share their --out")
    return Start(TrialFolder.of(path, trial.key), parent, note)


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


def summary(bench: Bench, trials: list[TrialResult]) -> dict[str, Any]:
    """Return the search's outcome for JSON."""
    order = ranked(trials)
    default = next((trial for trial in order if trial.is_default), None)
    return {
        "target": bench.settings.target,
        "metric": bench.settings.metric.name,
        "trials": len(trials),
        **{s: sum(t.state == s for t in trials) for s in ("complete", "pruned", "failed")},
        "best_trial": order[0].number if order else None,
        "best": order[0].last.as_dict() if order and order[0].last else None,
        "default": default.last.as_dict() if default and default.last else None,
    }
