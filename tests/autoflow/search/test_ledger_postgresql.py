"""The ledger on a PostgreSQL server of its own, where one is installed; nothing is installed."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from threading import Timer

import pytest
from books import Counting, complete, ledger_of, measured, opened, run_side_by_side, taken
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from test_ledger_scale import assert_cheap, keep_books, slowness

from autoflow.search import storage as storage_module
from autoflow.search.entry import Outcome
from autoflow.search.heart import Heart
from autoflow.search.results import finished
from autoflow.search.storage import wait_for_storage

pytestmark = pytest.mark.slow

PATIENCE = 60.0


def find(program: str) -> Path | None:
    """Return a program of PostgreSQL; Debian keeps those of each version apart."""
    known = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    on_path = shutil.which(program)
    return Path(on_path) if on_path else (known[-1] if known else None)


class Server:
    """A server that is reached through a socket in its folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        # It refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        self.execute("initdb", "-D", self.data, "-U", "search", "-A", "trust", "--no-sync")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://search@/postgres?host={self.folder}"

    def execute(self, program: str, *arguments: str | Path) -> None:
        command = [str(find(program)), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, user=self.user, cwd=self.folder)

    def start(self) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        socket = ["-k", str(self.folder), "-c", "listen_addresses="]
        self.process = subprocess.Popen(
            [str(find("postgres")), "-D", str(self.data), "-F", *socket],
            user=self.user,
            cwd=self.folder,
            **quiet,
        )
        end = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.execute("pg_ctl", "stop", "-D", self.data, "-m", "fast")
            self.process.wait(PATIENCE)

    def _is_ready(self) -> bool:
        command = [str(find("pg_isready")), "-q", "-h", str(self.folder)]
        return subprocess.run(command, check=False).returncode == 0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if find("initdb") is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(mkdtemp(prefix="search-"))  # short, as a socket's path must be
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def url(server: Server) -> str:
    """An empty database."""
    name = f"study_{time.monotonic_ns()}"
    server.execute("createdb", "-h", server.folder, "-U", "search", name)
    return server.url.replace("/postgres?", f"/{name}?")


def test_books_are_kept_quickly(url: str, tmp_path: Path) -> None:
    slowed = slowness()
    costs = keep_books(url, tmp_path, 50)
    assert_cheap(costs, (slowed + slowness()) / 2)


def test_workers_share_the_trials(url: str, tmp_path: Path) -> None:
    wanted = 16
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(opened, [url] * 4))  # all at once, in a database without tables
    run_side_by_side(studies, tmp_path, wanted)
    study = opened(url)
    stored = study.get_trials()
    assert all(trial.state.is_finished() for trial in stored)
    ended = Counter(t.user_attrs["key"] for t in stored if t.state == TrialState.COMPLETE)
    assert ended == {f"count-{number}": 1 for number in range(wanted)}
    assert [t.number for t in stored] == list(range(len(stored)))


def test_a_worker_that_falls_silent_loses_its_trial(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "HEARTBEAT", 1)
    monkeypatch.setattr(storage_module, "GRACE", 3)
    study, other = opened(url), opened(url)
    silent = taken(ledger_of(other, tmp_path, "elsewhere.1.ab"))
    alive = taken(ledger_of(other, tmp_path, "elsewhere.2.cd"))
    with Heart(other, silent.trial_id):
        pass  # one beat
    ledger = ledger_of(study, tmp_path, limit=2)
    with Heart(other, alive.trial_id) as heart:
        assert ledger.take(Counting()) is None
        time.sleep(5)
        again = taken(ledger)
        assert not heart.stopped.is_set()
    assert (again.trial.key, again.trial.retries) == ("count-0", 1)
    complete(again, 0.5)
    with pytest.raises(UpdateFinishedTrialError):
        silent.end(Outcome(TrialState.COMPLETE, 0.1), 1.0)
    complete(alive, 0.7)
    assert [(t.key, t.omega) for t in finished(study)] == [("count-1", 0.7), ("count-0", 0.5)]


def test_a_worker_waits_for_a_server_that_is_restarted(
    url: str, server: Server, tmp_path: Path
) -> None:
    study = opened(url)
    ledger = ledger_of(study, tmp_path)
    entry = taken(ledger)
    entry.record([measured(1, 2.0)])
    server.stop()
    with pytest.raises(StorageInternalError) as failed:
        entry.record([measured(1, 2.0), measured(2, 1.0)])
    Timer(2.0, server.start).start()
    wait_for_storage(study, failed.value)
    again = taken(ledger)
    assert (again.trial.key, again.trial.retries) == ("count-0", 0)
    assert [each.step for each in again.trial.course] == [1]
    complete(again, 0.5)
    assert [trial.omega for trial in finished(opened(url))] == [0.5]
