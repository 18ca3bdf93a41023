"""The same global batch in two processes and in one: the same losses and the same weights."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfflow.cli import main
from selfflow.frames import FrameBatches, FrameCache, find_pairs
from selfflow.models import save
from selfflow.pairs import Pairs
from selfflow.raft import raft_small
from selfflow.runs.config import load
from selfflow.runs.distributed import process_group, rank, world_size
from selfflow.runs.loop import LoopSettings, fit
from selfflow.supervised import Supervised, TrainSettings, adamw
from selfflow.unsupervised import SelfSupervised
from selfflow.unsupervised_config import UnsupervisedConfig
from selfflow.video import open_target
from selfflow.windows import WindowBatches, Windows

GLOBAL_BATCH = 2
# Losses also where the flow of one process leaves more uncovered than that of the other.
SELF_SUPERVISED = {
    "losses.iterations": 2,
    "losses.occlusion_start": 0,
    "losses.distillation_start": 0,
    "losses.distillation_ramp": 0,
    "crop": (64, 64),
    "margin": (8, 8),
}


def network():
    """In float64, because Adam makes whole steps of rounding errors where a gradient is zero."""
    torch.manual_seed(0)
    return raft_small().double()


def labelled(number: int) -> Pairs:
    """Pairs of which each one knows its flow at a different share of its pixels."""
    size = GLOBAL_BATCH // world_size()
    parts = []
    for sample in range(number * size, (number + 1) * size):
        generator = torch.Generator().manual_seed(sample)
        images = torch.rand(2, 3, 64, 72, generator=generator).double()
        flow = 5 * torch.randn(2, 64, 72, generator=generator).double()
        valid = torch.rand(1, 64, 72, generator=generator) < 0.1 + 0.4 * (sample % 2)
        parts.append((images[0], images[1], flow, valid))
    return Pairs(*(torch.stack(part) for part in zip(*parts, strict=True)))


def doubled(windows: Windows) -> Windows:
    around = windows.around1.double(), windows.around2.double()
    known = windows.known1, windows.known2
    return Windows(windows.seen1.double(), windows.seen2.double(), *around, *known, windows.margin)


def train_supervised():
    task = Supervised(network(), TrainSettings(iterations=2))
    return task, labelled


def train_self_supervised(film: Path):
    config = load(UnsupervisedConfig, values=SELF_SUPERVISED)
    target = open_target(str(film))
    frames = FrameBatches(
        FrameCache(target),
        find_pairs(target, skip_static=False, skip_cuts=False),
        seed=0,
        batch_size=GLOBAL_BATCH // world_size(),
    )
    windows = WindowBatches(frames, config.augmentation, config.crop, config.margin)
    task = SelfSupervised(network(), config.losses, steps=2)
    return task, lambda number: doubled(windows(number))


def trained(make, *arguments):
    """Return the mean of all terms over two steps, and the weights after them."""
    task, batches = make(*arguments)
    result = fit(
        task,
        batches,
        optimizer=adamw(task.network, 1e-4),
        learning_rate=lambda step: 2e-4,
        settings=LoopSettings(steps=2, log_every=2),
    )
    return result.means, task.network.state_dict()


def work(environment, folder, make, *arguments):
    os.environ.update(environment)
    with process_group():
        torch.save(trained(make, *arguments), folder / f"{rank()}.pt")


@pytest.mark.parametrize(
    "kind", ["supervised", pytest.param("self-supervised", marks=pytest.mark.slow)]
)
def test_two_processes_train_as_one_does(kind, processes, films, tmp_path):
    if kind == "supervised":
        what = (train_supervised,)
    else:
        films.write_frames(tmp_path / "film", films.film(0, 6, 80, 88))
        what = (train_self_supervised, tmp_path / "film")
    assert processes(work, tmp_path, *what) == [0, 0]
    (means, weights), (others, copies) = (
        torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)
    )
    expected_means, expected = trained(*what)
    assert means == others
    assert means == pytest.approx(expected_means, rel=1e-5, abs=1e-9)
    before = network().state_dict()
    assert any((expected[key] - before[key]).abs().max() > 1e-4 for key in before)
    for key, value in expected.items():
        assert torch.equal(weights[key], copies[key])
        torch.testing.assert_close(weights[key], value, rtol=0, atol=1e-5)


TINY = [
    "--set", "crop=[64, 64]", "--set", "margin=[8, 8]", "--set", "losses.iterations=2",
    "--set", "held_out=1", "--set", "short_side=72", "--set", "losses.distillation_start=0",
    "--set", "losses.distillation_ramp=0", "--set", "losses.occlusion_start=0",
    "--set", "loop.save_every=1", "--device", "cpu",
]  # fmt: skip


@pytest.mark.slow
def test_the_same_command_by_torchrun(films, tmp_path):
    """Two processes talk as one, continue, and leave a run that one process may go on with."""
    films.write_frames(tmp_path / "film", films.film(0, 10, 72, 80))
    save(tmp_path / "start.safetensors", network().float(), {"target": "film"})
    environment = {**os.environ, "SELFFLOW_HOME": str(tmp_path / "home")}

    def command(name, steps, batch, accumulate):
        return [
            "train", "--init", tmp_path / "start.safetensors", "--target", tmp_path / "film",
            "--name", name, "--steps", steps, *TINY, "--set", f"batch_size={batch}",
            "--set", f"loop.accumulate={accumulate}",
        ]  # fmt: skip

    def call(*arguments):
        line = [sys.executable, "-m", *(str(argument) for argument in arguments)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m")
    done = call(*torchrun, "selfflow", *command("two", 2, 2, 1))
    assert done.stdout.count("objective") == 1
    assert done.stderr.count("batch 2 x 2 = 4") == 1
    call("selfflow", *command("one", 2, 4, 1))
    one, two = (read(tmp_path / "home" / "train" / name / "before.json") for name in ("one", "two"))
    assert one == two
    call(*torchrun, "selfflow", *command("two", 3, 2, 1))
    call("selfflow", *command("two", 4, 2, 2))
    results = read(tmp_path / "home" / "train" / "two" / "results.json")
    assert results["steps"] == 4
    assert load_file(tmp_path / "home" / "models" / "two.safetensors")


def start_with(environment, folder, *names):
    """Type `selfflow train` with the network of the process's own number, or the only one."""
    os.environ.update(environment, SELFFLOW_HOME=str(folder / "home"))
    os.chdir(folder)
    number = int(environment["RANK"])
    with (folder / f"said{number}").open("w") as said, redirect_stderr(said):
        main(["train", "--target", "sample", "--steps", "2", *TINY, "--init", names[-number]])


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("nobody",), "Error: no model 'nobody'"),
        (("text.safetensors",), "Error: text.safetensors is not a readable model"),
        (("text.pth",), "Error: text.pth is not a readable checkpoint"),
        (("folder",), "Error: folder is a folder without a network"),
        (("s-af-small", "text.pth"), "Error: process 1: text.pth is not"),
        (("text.pth", "s-af-small"), "Error: process 0: text.pth is not"),
    ],
)
def test_a_first_network_that_cannot_be_read_ends_all_processes_with_one_line(
    names, line, processes, tmp_path
):
    (tmp_path / "folder").mkdir()
    for name in ("text.safetensors", "text.pth"):
        (tmp_path / name).write_text("no network")
    assert processes(start_with, tmp_path, *names) == [2, 2]
    (said,) = "".join((tmp_path / f"said{n}").read_text() for n in (0, 1)).splitlines()
    assert said.startswith(line)
    assert not (tmp_path / "home").exists()


def read(path):
    return json.loads(path.read_text())
