"""Processes that run trials, replaced by ones that only live and die; see also test_kill_search."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from known import small_settings

from autoflow.search import workers as module
from autoflow.search.results import REASON
from autoflow.search.worker import REFUSED
from autoflow.search.workers import Workers, describe_exit, device_of
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
Life = Callable[[int, Connection], None]  # of the process that was started as number so and so


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="minimize")


class Staged:
    """Workers whose processes do what a test says instead of running trials."""

    def __init__(self, folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.life: Life = lambda number, said: None
        settings = small_settings("moving").model_copy(update={"workers": count})
        self.workers = Workers(settings, folder, CPU, None)
        monkeypatch.setattr(module, "_METHOD", "fork")
        monkeypatch.setattr(module, "_LOOK", 0.02)
        monkeypatch.setattr(module, "run_worker", self._run)

    def _run(self, *arguments: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in range(100):  # the first that nobody has
            try:
                (self.folder / f"{number}.started").touch(exist_ok=False)
            except FileExistsError:
                continue
            break
        self.life(number, arguments[-1])

    @property
    def started(self) -> int:
        return len(list(self.folder.glob("*.started")))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_end_are_not_replaced(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 3, monkeypatch)
    staged.workers.run(study)
    assert staged.started == 3
    assert staged.workers.owners() == set()
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_replaced_and_spoken_of_at_once(
    study: optuna.Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    staged = Staged(tmp_path, 2, monkeypatch)

    def life(number: int, said: Connection) -> None:
        if number == 0:
            die()
        # The other one goes on meanwhile: it ends when it sees the new one.
        end = time.monotonic() + 20
        while staged.started < 3 and time.monotonic() < end:
            time.sleep(0.01)

    staged.life = life
    begun = time.monotonic()
    staged.workers.run(study)
    assert time.monotonic() - begun < 15
    assert staged.started == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "was ended by SIGKILL (out of memory? fewer workers need less)" in line
    assert "its trial is tried again" in line


def test_what_a_worker_cannot_do_ends_all_of_them(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 2, monkeypatch)

    def life(number: int, said: Connection) -> None:
        if number == 1:
            said.send_bytes("the storage is out of reach, Ω unknown".encode())
            sys.exit(REFUSED)
        time.sleep(60)

    staged.life = life
    with pytest.raises(UserError, match="the storage is out of reach, Ω unknown"):
        staged.workers.run(study)
    assert multiprocessing.active_children() == []


def test_workers_that_die_without_end_are_given_up(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 1, monkeypatch)
    staged.life = lambda number, said: die()
    with pytest.raises(UserError, match=r"4 workers died without finishing a trial, .* SIGKILL"):
        staged.workers.run(study)
    assert staged.started == 4


def test_deaths_count_from_the_last_trial_that_ended(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 1, monkeypatch)
    said = []

    def ended(text: str, **_: object) -> None:
        said.append(text)
        attributes = {REASON: "too often"}
        state = optuna.trial.TrialState.FAIL
        study.add_trial(optuna.trial.create_trial(state=state, user_attrs=attributes))

    monkeypatch.setattr(module.console, "print", ended)
    staged.life = lambda number, said: die() if number < 6 else None
    staged.workers.run(study)
    assert len(said) == 6


def test_an_interrupt_asks_workers_to_stop_and_waits_for_them(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 2, monkeypatch)

    def life(number: int, said: Connection) -> None:
        def stop(*_: object) -> None:
            time.sleep(0.1)  # a checkpoint is written
            (tmp_path / f"{number}.stopped").touch()
            sys.exit(130)

        signal.signal(signal.SIGTERM, stop)
        (tmp_path / f"{number}.ready").touch()
        time.sleep(60)

    staged.life = life

    def interrupt() -> None:
        end = time.monotonic() + 20
        while len(list(tmp_path.glob("*.ready"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        staged.workers.run(study)
    thread.join()
    assert len(list(tmp_path.glob("*.stopped"))) == 2
    assert multiprocessing.active_children() == []


def test_workers_share_cores_and_have_names_of_their_own(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = Staged(tmp_path, 3, monkeypatch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)

    def note(*arguments: Any) -> None:
        threads, owner = arguments[3:5]
        (tmp_path / f"{owner}.given").write_text(str(threads))

    monkeypatch.setattr(module, "run_worker", note)
    staged.workers.run(study)
    assert [each.read_text() for each in tmp_path.glob("*.given")] == ["2"] * 3


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("cpu", 0, ["cpu", "cpu", "cpu"]),
        ("cuda", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", 2, ["cuda:1", "cuda:1", "cuda:1"]),
    ],
)
def test_each_worker_has_its_device(
    device: str, gpus: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [str(device_of(torch.device(device), place)) for place in range(3)] == expected


def test_an_exit_is_described() -> None:
    assert describe_exit(1) == "ended with exit status 1"
    assert describe_exit(-signal.SIGTERM) == "was ended by SIGTERM"
    assert "SIGKILL (out of memory?" in describe_exit(-signal.SIGKILL)
    assert describe_exit(-63) == "was ended by signal 63"
