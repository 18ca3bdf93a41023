"""A training on rendered scenes that is killed goes on to the weights it would have had."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autoflow.cli import main

PATIENCE = 300.0
TINY = [
    *("--set", "training.optimisation.crop=[32,32]"),
    *("--set", "training.optimisation.batch_size=1"),
    *("--set", "training.optimisation.iterations=1"),
    *("--set", "training.head_start.matching_steps=2"),
    *("--set", "training.head_start.easy=0.5"),
    *("--set", "training.optimisation.loop.save_every=1"),
]


def session(folder: Path, name: str) -> None:
    stored = folder / f"{name}.safetensors"
    places = ["--name", str(stored), "--out", str(folder / name)]
    main(["train", *places, "--steps", "6", "--device", "cpu", *TINY])


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["autoflow.cli"])
    undisturbed, killed, last = (
        context.Process(target=session, args=(tmp_path, name))
        for name in ("whole", "killed", "killed")
    )
    undisturbed.start()
    killed.start()
    end = time.monotonic() + PATIENCE
    while not (tmp_path / "killed" / "checkpoint.pt").exists():
        assert killed.is_alive()
        assert time.monotonic() < end
        time.sleep(0.002)
    killed.kill()
    killed.join()
    assert killed.exitcode == -9
    last.start()
    for process in (undisturbed, last):
        process.join(PATIENCE)
        assert process.exitcode == 0
    whole, continued = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], continued[key]) for key in whole)
