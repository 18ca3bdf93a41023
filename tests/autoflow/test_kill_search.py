"""A search whose processes are killed in the middle of trials tries those again, and ends."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from autoflow.results import MEASUREMENTS, RETRIES, finished

PATIENCE = 400.0
TRIALS = 3
COMMAND = [
    *("search", "--target", "sample", "--workers", "2", "--trials", str(TRIALS), "--no-train"),
    *("--device", "cpu", "--name", "tiny", "--json"),
    *("--set", "startup=2", "--set", "only=['effects']"),
    *("--set", "pairs.count=2", "--set", "pairs.side=48", "--set", "metric.iterations=1"),
    *("--set", "training.optimisation.crop=[32,32]", "--set", "training.optimisation.batch_size=1"),
    *("--set", "training.optimisation.iterations=1"),
    *("--set", "trial.steps=16", "--set", "trial.pruner='none'", "--set", "trial.rung_pairs=[]"),
    *("--set", "trial.rungs=[0.125,0.25,0.375,0.5,0.625,0.75,0.875,1]"),
]


def start(run: Path) -> subprocess.Popen[str]:
    code = "from autoflow.cli import main; main()"
    command = [sys.executable, "-c", code, *COMMAND, "--out", str(run)]
    environment = os.environ | {"SELFFLOW_HOME": str(run.parent / "home")}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def count(run: Path, query: str) -> int:
    """Return what a query of the study's file counts, 0 before there is one."""
    if not (run / "study.db").exists():
        return 0
    try:
        with sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True, timeout=10) as study:
            return int(study.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def in_the_middle(run: Path) -> bool:
    """Whether a trial is running that has been measured, and has not been measured for long."""
    return (
        count(
            run,
            "select count(*) from trial_intermediate_values v join trials t using (trial_id) "
            "where t.state = 'RUNNING'",
        )
        > 0
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children: list[int] = []
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        children += map(int, (thread / "children").read_text().split())
    lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in lines.items() if b"spawn_main" in line]


def check(run: Path, process: subprocess.Popen[str]) -> list[optuna.trial.FrozenTrial]:
    """Check that a search ended as if nothing had happened; return all that its study holds."""
    output, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    results = json.loads(output)
    assert results["trials"] == results["complete"] == TRIALS
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{run / 'study.db'}")
    counted = finished(study)
    assert len(counted) == len({trial.number for trial in counted}) == TRIALS
    assert len((run / "trials.csv").read_text().splitlines()) == TRIALS + 1
    trials = study.get_trials()
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    lost = [t for t in trials if t.state == optuna.trial.TrialState.FAIL]
    assert len(complete) == TRIALS
    assert len(trials) == TRIALS + len(lost)  # none is left waiting or running
    assert len(lost) >= 1
    # What was lost was tried again, and no set twice.
    tried = Counter(tuple(sorted(t.params.items())) for t in complete)
    assert set(tried.values()) == {1}
    for trial in lost:
        if trial.params:
            assert tuple(sorted(trial.params.items())) in tried
    assert any(trial.user_attrs.get(RETRIES) for trial in complete)
    assert all(len(t.user_attrs[MEASUREMENTS]) == 8 for t in complete)
    return trials


@pytest.mark.slow
def test_a_killed_worker_takes_no_trial_along(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run)
    wait_for(lambda: in_the_middle(run), process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    check(run, process)


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    """All of it at once: its workers follow it, and the same command continues."""
    run = tmp_path / "run"
    process = start(run)
    wait_for(lambda: in_the_middle(run), process)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    end = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    check(run, start(run))
