import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfflow.runs import lock
from selfflow.runs.errors import UserError
from selfflow.runs.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from selfflow.runs.lock import locked
with locked(Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(60)
"""


def test_blocks_of_one_file_follow_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "_PAUSE", 0.005)
    inside, most = [0], [0]

    def work() -> None:
        with locked(tmp_path / "new" / "lock", "One after the other."):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert capsys.readouterr().err.count("One after the other.") >= 1


def test_whoever_waits_too_long_goes_on_without(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file, "") as first, locked(file, "waiting", until=time.time() + 0.01) as second:
        assert (first, second) == (True, False)
    with locked(file, "", until=0.0) as free:
        assert free


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with locked(file, "", until=0.0) as held:
            assert not held
        process.kill()
        process.wait()
        with locked(file, "", until=time.time() + 5) as held:
            assert held


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"), locked(tmp_path / "file" / "lock", ""):
        pass
