import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoflow.search import owners
from autoflow.search.owners import is_gone, new_owner, registered, taking_turns

HOLD = """
import runpy, sys, time
from pathlib import Path
names = runpy.run_path(sys.argv[1])  # without the package, which takes seconds to import
owner = names["new_owner"]()
with names["registered"](Path(sys.argv[2]), owner):
    print(owner, flush=True)
    time.sleep(60)
"""


def test_a_worker_is_gone_once_it_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, owners.__file__, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    assert str(process.pid) in owner
    assert not is_gone(tmp_path, owner)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert is_gone(tmp_path, owner)


def test_nothing_is_known_of_other_machines_other_folders_and_those_that_ended_in_order(
    tmp_path: Path,
) -> None:
    owner = new_owner()
    with registered(tmp_path, owner):
        assert not is_gone(tmp_path, owner)
        assert not is_gone(tmp_path / "other", owner)
    assert not is_gone(tmp_path, owner)
    elsewhere = f"x{owner}"  # a lock on its own machine says nothing here
    (tmp_path / "workers" / f"{elsewhere}.lock").touch()
    (tmp_path / "workers" / f"{owner}.lock").touch()
    assert not is_gone(tmp_path, elsewhere)
    assert is_gone(tmp_path, owner)


def test_no_two_workers_have_the_same_name() -> None:
    assert len({new_owner() for _ in range(100)}) == 100


def test_one_takes_its_turn_after_the_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with taking_turns(tmp_path):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_nobody_waits_forever_for_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoflow.search.owners._PATIENCE", 0.05)
    with taking_turns(tmp_path), taking_turns(tmp_path):
        pass
