"""Cheap searches on the command line, for tests that disturb them."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from autoflow.search.results import STOPPED, TrialResult, is_cut_off, read_trials
from autoflow.search.study import read_study

PATIENCE = 900.0
STEPS = 8
# What a trial trains follows from its key alone: the same in every search of these settings.
SETTINGS = [
    *("--target", "sample", "--device", "cpu", "--name", "tiny", "--strategy", "random"),
    *("--set", "only=['effects']", "--set", "pairs.count=2", "--set", "pairs.side=48"),
    *("--set", "metric.iterations=1", "--set", "training.optimisation.iterations=1"),
    *("--set", "training.optimisation.crop=[32,32]", "--set", "training.optimisation.batch_size=1"),
    *("--set", f"trial.steps={STEPS}", "--set", "trial.rungs=[0.25,0.5,0.75,1]"),
    *("--set", "trial.rung_pairs=[]", "--set", "trial.pruner='none'"),
]


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    """Start `autoflow search` in a process of its own; each computes in one thread."""
    command = [sys.executable, "-m", "autoflow", "search", *SETTINGS, "--out", str(run), "--json"]
    environment = os.environ | {"SELFFLOW_HOME": str(run.parent / "home"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def succeed(process: subprocess.Popen[str], *, within: float = PATIENCE) -> str:
    """Return what a process that ends well, `within` so many seconds, has printed."""
    output, said = process.communicate(timeout=within)
    assert process.returncode == 0, said
    return output


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait for something that happens while the processes run."""
    end = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def storage(run: Path) -> str:
    return f"sqlite:///{run / 'study.db'}"


class Look:
    """What a search's study holds, looked at from outside."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._study: optuna.Study | None = None

    def all(self) -> list[FrozenTrial]:
        """All trials, those that do not count included; none before there is a study."""
        if self._study is None:
            if not (self.run / "study.db").exists():
                return []
            try:
                self._study = read_study(storage(self.run), "tiny")
            except Exception:  # it is being made
                return []
        return self._study.get_trials(deepcopy=False)

    def counted(self) -> list[TrialResult]:
        """The trials that count."""
        self.all()
        return [] if self._study is None else read_trials(self._study)

    def ended(self) -> int:
        """The number of those that have come to an end."""
        return sum(trial.state != "running" for trial in self.counted())

    def in_the_middle(self) -> bool:
        """Whether a trial runs that has been measured, but not at its end."""
        return any(t.state == "running" and 0 < len(t.course) < 4 for t in self.counted())

    def lost(self) -> list[FrozenTrial]:
        """The attempts that ended with their process."""
        return [t for t in self.all() if is_cut_off(t) and STOPPED not in t.user_attrs]


def check_trials(run: Path, count: int) -> dict[str, TrialResult]:
    """Check that so many trials have ended, none twice; return them by key."""
    look = Look(run)
    trials = look.counted()
    assert [trial for trial in trials if trial.state == "running"] == []
    keys = Counter(trial.key for trial in trials)
    assert set(keys) == {"start-0", *(f"random-{number}" for number in range(1, count))}
    assert set(keys.values()) == {1}
    cut_off = [trial for trial in look.all() if is_cut_off(trial)]
    assert len(look.all()) == count + len(cut_off)  # none waits, runs or was withdrawn unseen
    withdrawn = [trial for trial in cut_off if not trial.user_attrs["key"]]  # two began the same
    assert all("rung 1" not in trial.user_attrs for trial in withdrawn)
    assert {trial.user_attrs["key"] for trial in cut_off if trial not in withdrawn} <= set(keys)
    sets = Counter(tuple(sorted(trial.parameters.items())) for trial in trials)
    assert set(sets.values()) == {1}
    for trial in trials:
        if trial.state == "complete":
            assert [each.step for each in trial.course] == [2, 4, 6, 8]
    return {trial.key: trial for trial in trials}


def omegas(trials: dict[str, TrialResult]) -> dict[str, list[float]]:
    """The course of Ω of the complete trials, by key."""
    complete = [trial for trial in trials.values() if trial.state == "complete"]
    return {trial.key: [each.omega for each in trial.course] for trial in complete}
