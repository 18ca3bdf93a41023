"""Studies on disk and a strategy that counts, to see how trials are taken and what is written."""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import optuna
from optuna.trial import TrialState
from sqlalchemy import event
from synthetic import unit_space

from autoflow.search.entry import Entry, Outcome
from autoflow.search.ledger import Ledger
from autoflow.search.objective import Measurement
from autoflow.search.results import TrialResult
from autoflow.search.strategies import Job
from autoflow.search.study import open_study
from autoflow.space import Value, distributions

MADE_FOR = {"target": "sample"}


@lru_cache(maxsize=1)
def _empty() -> Path:
    # Tables are made once; it takes a while.
    file = Path(mkdtemp()) / "study.db"
    opened(f"sqlite:///{file}")
    return file


def opened(url: str) -> optuna.Study:
    study = open_study(url, "s-af", made_for=MADE_FOR)
    if url.startswith("sqlite"):  # tests need not survive a power failure
        event.listen(study._storage._backend.engine, "connect", _hurry)
        study._storage._backend.engine.dispose()
    return study


def _hurry(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("pragma synchronous = off")


def new_study(folder: Path) -> optuna.Study:
    """Open a study in a folder, as a further worker does if there is one already."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "study.db").exists():
        shutil.copy(_empty(), folder / "study.db")
    return opened(f"sqlite:///{folder / 'study.db'}")


@dataclass(frozen=True)
class Counting:
    """Points that follow from their numbers."""

    count: int = 3

    def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job:
        number = 1 + max((int(t.key.rpartition("-")[2]) for t in trials), default=-1)
        return Job(f"count-{number}", self.point(number))

    def point(self, number: int) -> Mapping[str, Value]:
        return dict.fromkeys(unit_space(self.count), (1 + 7 * number) % 64 / 64)


def ledger_of(
    study: optuna.Study, path: Path, owner: str = "me", limit: int = 100, count: int = 3
) -> Ledger:
    return Ledger(study, path, owner, distributions(unit_space(count)), limit)


def taken(ledger: Ledger, strategy: Counting | None = None) -> Entry:
    entry = ledger.take(strategy or Counting())
    assert entry is not None
    return entry


def measured(step: int, omega: float) -> Measurement:
    values = {f.name: 0.0 for f in fields(Measurement)}
    return Measurement(**{**values, "step": step, "omega": omega})


def complete(entry: Entry, omega: float = 1.0, rungs: Sequence[int] = (10,)) -> None:
    course = []
    for step in rungs:
        course.append(measured(step, omega))
        entry.record(course)
    entry.end(Outcome(TrialState.COMPLETE, omega), 2.0)


def run_side_by_side(studies: Sequence[optuna.Study], path: Path, wanted: int) -> None:
    """Let a worker for each of the studies, which are one, take trials until there are enough.

    Each has a run folder of its own, so that nothing but the study keeps them apart.
    """

    def work(index: int) -> None:
        owner = f"worker-{index}"
        ledger = ledger_of(studies[index], path / owner, owner, wanted)
        while not ledger.is_complete():
            entry = ledger.take(Counting())
            if entry is not None:
                complete(entry)

    with ThreadPoolExecutor(len(studies)) as pool:
        list(pool.map(work, range(len(studies))))


def change(folder: Path, statement: str) -> int:
    """Execute a statement on a study's file; return how many rows it changed."""
    with sqlite3.connect(folder / "study.db") as file:
        return file.execute(statement).rowcount


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "study.db") as file:
        return file.execute(query).fetchall()
