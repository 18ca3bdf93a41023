"""Trials until there are enough, and the files they amount to.

Stopped at any moment and started again with the same run folder, it goes on where it was.
"""

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.artifacts import keep_pictures
from autoflow.search.bench import Bench
from autoflow.search.deadline import is_past
from autoflow.search.entry import Entry, leaving
from autoflow.search.ledger import Ledger
from autoflow.search.report.tables import to_csv, trial_rows
from autoflow.search.results import TrialResult, ranked, read_trials, typical_seconds
from autoflow.search.settings import SearchSettings
from autoflow.search.storage import shown, wait_for_storage
from autoflow.search.strategies import Strategy, strategy_of
from autoflow.search.study import digest, keep, open_study
from autoflow.search.trial import Start, run_trial
from autoflow.search.trial_folder import TOP, TrialFolder, tidy
from autoflow.sets import Mixture
from autoflow.space import distributions
from selfflow.runs.config import replace_values, to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.run import write_text

MOST_OUTAGES = 100
BASE_OF_STUDY = "base network"
STUDY = "study.db"
PAIRS = "pairs"  # of the study: what pairs.json is in a run folder


def storage_of(settings: SearchSettings, path: Path) -> str:
    """Return the Optuna storage URL of a run."""
    return settings.storage or f"sqlite:///{(path / STUDY).absolute()}"


def open_trials(settings: SearchSettings, bench: Bench, path: Path) -> optuna.Study:
    """Open the study of a run.

    Raises:
        UserError: it cannot be opened, or was made for other settings, another space, other pairs
            or another base network.
    """
    ranges = {name: [each.low, each.high] for name, each in bench.space.items()}
    found = {"list of pairs": bench.pairs.digest, BASE_OF_STUDY: _digest(bench.base)}
    study = open_study(
        storage_of(settings, path),
        settings.name,
        made_for=settings.made_for() | {"space": ranges} | found,
    )
    if PAIRS not in study.user_attrs:
        keep(study, PAIRS, bench.pairs.as_json())
    return study


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
) -> None:
    """Run trials in this process until all that the settings ask for have come to an end.

    Args:
        study: whose trials; other processes may work on it, too.
        bench: what trials share.
        path: the run folder.
        owner: this process, `registered` under that name.
        deadline: `time.time()` at which it ends; None: none. No trial is begun that would take
            longer, as trials go. One that runs stops at its next step, and is gone on with when
            the search is continued.

    Raises:
        UserError: the storage is out of reach for minutes, or what a trial needs cannot be read or
            written.
    """
    ledger = Ledger(study, path, owner, distributions(bench.space), bench.settings.trials)
    strategy = strategy_of(bench.settings, bench.space)
    for _ in range(MOST_OUTAGES):
        try:
            _work(ledger, strategy, bench, deadline)
            return
        except StorageInternalError as error:
            wait_for_storage(study, error)
    raise UserError(f"{shown(storage_of(bench.settings, path))} fails again and again")


def _work(ledger: Ledger, strategy: Strategy, bench: Bench, deadline: float | None) -> None:
    study, path = ledger.study, ledger.path
    pauses = _pauses()
    while not (is_past(deadline) or ledger.is_complete()):
        late = deadline is not None and is_past(deadline - typical_seconds(read_trials(study)))
        entry = ledger.take(None if late else strategy)
        if entry is None and late:
            return
        if entry is None:
            time.sleep(next(pauses))
            continue
        with leaving(entry):
            start = _start(entry, path)
            keep_pictures(entry, bench, path)
        run_trial(entry, bench, start, deadline)
        tidy(path, read_trials(study), bench.settings)
        pauses = _pauses()


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
            raise UserError(f"{parent} is missing; workers of one population share their --out")
    return Start(TrialFolder.of(path, trial.key), parent, note)


def write_results(path: Path, bench: Bench, trials: Sequence[TrialResult]) -> list[Hyperparameters]:
    """Write `best.toml`, `top3.toml` and `trials.csv`; return the best sets, the best first.

    Raises:
        UserError: no trial is complete.
    """
    write_text(path / "trials.csv", to_csv(trial_rows(trials)))
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
