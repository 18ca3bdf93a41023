"""Several commands work on one search at the same time: in one folder, and in folders apart."""

import json
import time
from pathlib import Path

import pytest
from searches import PATIENCE, Look, check_trials, omegas, start, storage, succeed

pytestmark = pytest.mark.slow

TRAINED = ("--steps", "2", "--set", "final_start='scratch'")


def test_commands_in_one_folder_share_the_trials_and_train_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    commands = [start(run, "--trials", "5", *TRAINED) for _ in range(3)]
    results = [json.loads(succeed(command)) for command in commands]
    trials = check_trials(run, 5)
    assert len({trial.owner for trial in trials.values()}) >= 2
    assert {each["trials"] for each in results} == {5}
    assert len({each["best_trial"] for each in results}) == 1
    # Checkpoint and network were written once: whoever came later found them.
    log = json.loads((run / "train" / "environment.json").read_text())
    assert log.get("continued", []) == []


def test_commands_in_folders_apart_share_the_trials(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    options = ("--trials", "4", "--no-train", "--storage", storage(tmp_path / "shared"))
    runs = [tmp_path / "here", tmp_path / "there"]
    commands = [start(run, *options) for run in runs]
    results = [json.loads(succeed(command)) for command in commands]
    trials = check_trials(tmp_path / "shared", 4)
    assert len({trial.owner for trial in trials.values()}) == 2
    assert results[0]["best_trial"] == results[1]["best_trial"]
    tables = [(run / "best.toml").read_text() for run in runs]
    assert tables[0] == tables[1]
    assert all((run / "report.html").exists() for run in runs)
    assert len(omegas(trials)) == 4


def test_a_second_command_with_other_settings_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed(start(run, "--trials", "1", "--no-train"))
    for changed in ("trial.learning_rate=1e-3", "only=['background']", "seed=3"):
        command = start(run, "--trials", "1", "--no-train", "--set", changed)
        _, said = command.communicate()
        assert command.returncode == 2
        (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert changed.partition("=")[0] in line
        assert "Traceback" not in said


def test_a_budget_ends_the_command_in_time_and_the_search_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    began = time.monotonic()
    succeed(start(tmp_path / "short", "--trials", "1", "--workers", "2", "--no-train"))
    short = time.monotonic() - began  # how fast this machine is at the moment
    budget = 60 + 3 * short
    options = ("--trials", "1000", "--workers", "2", "--budget", f"{budget:.0f}s")
    options += ("--steps", "100000", "--set", "final_start='scratch'")
    began = time.monotonic()
    first = json.loads(succeed(start(run, *options), within=budget + PATIENCE))
    # Python starts before the budget does, and a busy machine is not equally busy all the time.
    assert time.monotonic() - began < budget + short
    assert 1 <= first["trials"] < 1000
    steps = json.loads((run / "train" / "results.json").read_text())["steps"]
    assert 1 <= steps < 100_000
    look = Look(run)
    assert [trial for trial in look.counted() if trial.state == "running"] == []
    second = json.loads(succeed(start(run, *options), within=budget + PATIENCE))
    assert second["trials"] > first["trials"]
    # What was cut off at the end of the first was gone on with.
    keys = [trial.key for trial in look.counted()]
    assert len(keys) == len(set(keys)) == second["trials"]
    assert look.lost() == []
