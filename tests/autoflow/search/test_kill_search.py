"""Searches whose processes are killed at random moments find what undisturbed ones find."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from searches import PATIENCE, Look, check_trials, omegas, start, succeed, wait_for

from autoflow.search.ledger import MOST_RETRIES
from autoflow.sets import read_hyperparameters
from selfflow.runs.config import flatten

TRIALS = 20
KILLS = 5

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The course of Ω of every trial, by key, of a search that nobody disturbs."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    succeed(start(run, "--trials", str(TRIALS), "--workers", "2", "--no-train"))
    found = omegas(check_trials(run, TRIALS))
    assert len(found) == TRIALS
    return found


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children: list[int] = []
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        children += map(int, (thread / "children").read_text().split())
    lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in lines.items() if b"spawn_main" in line]


def test_killed_workers_take_no_trial_along(
    tmp_path: Path, undisturbed: dict[str, list[float]]
) -> None:
    run, chance = tmp_path / "run", random.Random(0)
    process = start(run, "--trials", str(TRIALS), "--workers", "3", "--no-train")
    look = Look(run)
    for number in range(KILLS):
        # Spread over the search, so that none dies three times over one trial.
        wait_for(lambda n=number: look.ended() >= 3 * n and look.in_the_middle(), process)
        time.sleep(chance.uniform(0, 1))
        os.kill(chance.choice(workers_of(process)), signal.SIGKILL)
    output, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.count("was ended by SIGKILL") == KILLS
    trials = check_trials(run, TRIALS)
    assert len(look.lost()) >= 1
    found = omegas(trials)
    for key, trial in trials.items():
        assert trial.state == "complete" or trial.retries > MOST_RETRIES
        if trial.state == "complete":
            assert found[key] == undisturbed[key]
    results = json.loads(output)
    assert results["trials"] == TRIALS
    best = min(found, key=lambda key: found[key][-1])
    assert results["best_trial"] == trials[best].number
    changed = flatten(read_hyperparameters(run))
    for name, value in trials[best].parameters.items():
        assert changed.get(name, value) == value
    assert len((run / "trials.csv").read_text().splitlines()) == TRIALS + 1


def test_a_killed_search_goes_on(tmp_path: Path, undisturbed: dict[str, list[float]]) -> None:
    """All of it at once: its workers follow it, and the same command continues."""
    run, count = tmp_path / "run", 6
    options = ("--trials", str(count), "--workers", "2", "--no-train")
    process = start(run, *options)
    look = Look(run)
    wait_for(lambda: look.ended() >= 1 and look.in_the_middle(), process)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    end = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    succeed(start(run, *options))
    found = omegas(check_trials(run, count))
    assert found == {key: undisturbed[key] for key in found}
    assert len(found) == count
    assert len(look.lost()) >= 1


def test_an_interrupted_search_goes_on_and_blames_nobody(
    tmp_path: Path, undisturbed: dict[str, list[float]]
) -> None:
    run, count = tmp_path / "run", 4
    options = ("--trials", str(count), "--workers", "2", "--no-train")
    process = start(run, *options)
    look = Look(run)
    wait_for(look.in_the_middle, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.count("Stopping after this step") == 1
    assert [trial for trial in look.counted() if trial.state == "running"] == []
    succeed(start(run, *options))
    found = omegas(check_trials(run, count))
    assert found == {key: undisturbed[key] for key in found}
    assert len(found) == count
    assert look.lost() == []


def test_one_of_two_commands_in_a_folder_is_killed(
    tmp_path: Path, undisturbed: dict[str, list[float]]
) -> None:
    run, count = tmp_path / "run", 8
    options = ("--trials", str(count), "--no-train")
    first = start(run, *options)
    second = start(run, *options)
    look = Look(run)
    wait_for(
        lambda: len({t.owner for t in look.counted()}) == 2 and look.in_the_middle(), first, second
    )
    first.kill()
    first.communicate()
    succeed(second)
    found = omegas(check_trials(run, count))
    assert found == {key: undisturbed[key] for key in found}
    assert len(found) == count


MEMBERS, GENERATIONS = 3, 3
POPULATION = (
    *("--strategy", "pbt", "--trials", str(MEMBERS * GENERATIONS), "--no-train"),
    *("--set", f"pbt.members={MEMBERS}", "--set", "pbt.exploited=0.34"),
)


def turns(run: Path) -> dict[str, tuple[object, ...]]:
    """What each turn of a population that has ended did: state, parent's key, parameters and Ω."""
    trials = Look(run).counted()
    keys = {trial.number: trial.key for trial in trials}
    return {
        trial.key: (
            trial.state,
            keys.get(trial.parent),
            tuple(sorted(trial.parameters.items())),
            [(each.step, each.omega) for each in trial.course],
        )
        for trial in trials
    }


def test_killed_workers_of_a_population_leave_it_as_it_would_have_been(tmp_path: Path) -> None:
    calm, run, chance = tmp_path / "calm", tmp_path / "run", random.Random(1)
    succeed(start(calm, *POPULATION, "--workers", "2"))
    expected = turns(calm)
    assert set(expected) == {
        f"member-{m}-generation-{g}" for m in range(MEMBERS) for g in range(GENERATIONS)
    }
    assert {state for state, *_ in expected.values()} == {"complete"}
    process, look = start(run, *POPULATION, "--workers", "2"), Look(run)
    for ended in (1, MEMBERS + 1):
        running = lambda n=ended: look.ended() >= n and len(look.counted()) > look.ended()  # noqa: E731
        wait_for(running, process)
        time.sleep(chance.uniform(0, 1))
        os.kill(chance.choice(workers_of(process)), signal.SIGKILL)
    succeed(process)
    assert turns(run) == expected
    assert all(trial.state.is_finished() for trial in look.all())
