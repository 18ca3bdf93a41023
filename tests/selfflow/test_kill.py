"""A training that is killed at any moment, and goes on, ends with the weights it would have had."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfflow.cli import main
from selfflow.models import save
from selfflow.raft import raft_small

PATIENCE = 300.0


def arguments(place, name, steps):
    options = [
        "train", "--init", place / "start.safetensors", "--target", place / "film",
        "--name", place / f"{name}.safetensors", "--out", place / name, "--steps", steps,
        "--set", "crop=[64, 64]", "--set", "margin=[8, 8]", "--set", "losses.iterations=1",
        "--set", "held_out=1", "--set", "short_side=72", "--set", "batch_size=1",
        "--set", "losses.distillation_start=0.3", "--set", "losses.distillation_ramp=0.3",
        "--set", "loop.save_every=1", "--set", "loop.log_every=4", "--set", "loop.ema=0.8",
        "--device", "cpu",
    ]  # fmt: skip
    return [str(option) for option in options]


@pytest.fixture
def place(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 10, 72, 80))
    torch.manual_seed(0)
    save(tmp_path / "start.safetensors", raft_small(), {"target": "film"})
    return tmp_path


def session(arguments):
    main(arguments)


def written(checkpoint):
    """Return what tells one checkpoint from the next."""
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None


def wait_for_another(checkpoint, alive, at_most=PATIENCE):
    """Wait until a checkpoint is written, or so many seconds; the process must be alive."""
    before, end = written(checkpoint), time.monotonic() + at_most
    while written(checkpoint) == before and time.monotonic() < end:
        assert alive(), "it ended before it could be killed"
        time.sleep(0.002)


def assert_same_weights(place):
    whole, killed = (load_file(place / f"{name}.safetensors") for name in ("whole", "killed"))
    start = load_file(place / "start.safetensors")
    assert any(not torch.equal(whole[key], start[key]) for key in start)
    assert whole.keys() == killed.keys()
    for key, value in whole.items():
        assert torch.equal(value, killed[key]), key


@pytest.mark.slow
def test_killed_twice(place):
    """The command itself, in processes that share one import of torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["selfflow.cli"])

    def start(name):
        process = context.Process(target=session, args=(arguments(place, name, 6),))
        process.start()
        return process

    undisturbed = start("whole")
    checkpoint = place / "killed" / "checkpoint.pt"
    for delay in (0.0, 0.02):
        process = start("killed")
        wait_for_another(checkpoint, process.is_alive)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -9
    last = start("killed")
    for process in (undisturbed, last):
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert_same_weights(place)
    assert not list((place / "killed").glob(".*"))


@pytest.mark.slow
def test_killed_ten_times_at_random_moments(place):
    """Also while it starts, measures and writes; each time by SIGKILL, as real commands."""
    steps, moments = 60, random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "selfflow", *arguments(place, "killed", steps)]
    checkpoint: Path = place / "killed" / "checkpoint.pt"

    def start(line):
        return subprocess.Popen(
            line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    begun = time.monotonic()
    undisturbed = start([*line[:3], *arguments(place, "whole", steps)])
    wait_for_another(place / "whole" / "checkpoint.pt", lambda: undisturbed.poll() is None)
    until_first = time.monotonic() - begun
    assert undisturbed.wait(PATIENCE) == 0
    for kill in range(10):
        process = start(line)
        starting = kill % 3 == 2  # at any moment before the session's first step is written
        at_most = moments.uniform(0, 1) * until_first if starting else PATIENCE
        wait_for_another(checkpoint, lambda process=process: process.poll() is None, at_most)
        time.sleep(0 if starting else moments.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -9, "it ended before it could be killed"
    assert start(line).wait(PATIENCE) == 0
    assert_same_weights(place)
    before = load_file(place / "killed.safetensors")
    assert start(line).wait(PATIENCE) == 0  # nothing is left to do
    after = load_file(place / "killed.safetensors")
    assert all(torch.equal(before[key], value) for key, value in after.items())
