"""The selfflow command as a person uses it: real, tiny runs."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from selfflow.cli import main
from selfflow.io import read_flo, write_flo
from selfflow.models import save
from selfflow.raft import raft_small

TINY = [
    "--set", "crop=[64, 64]", "--set", "margin=[8, 8]", "--set", "batch_size=1",
    "--set", "losses.iterations=2", "--set", "held_out=1", "--set", "short_side=72",
    "--set", "losses.distillation_start=0", "--set", "losses.distillation_ramp=0",
    "--set", "losses.occlusion_start=0",
    "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch, films):
    """A current folder with a labelled film of 10 frames and a network `s-af` made for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFFLOW_HOME", "home")
    monkeypatch.delenv("SELFFLOW_DATA", raising=False)
    flow = np.full((72, 80, 2), (-3.0, 0.0), np.float32)
    root = tmp_path / "film" / "training"
    for rendering in ("clean", "final"):
        films.write_frames(root / rendering / "pan", films.film(0, 10, 72, 80), "frame_{:04d}.png")
    for number in range(9):
        write_flo(root / "flow" / "pan" / f"frame_{number:04d}.flo", flow)
    torch.manual_seed(0)
    save("s-af", raft_small(), {"target": "film"})
    return tmp_path


def call(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    if expect == 2:
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    return result


def test_train_takes_everything_from_the_store_and_leaves_a_model(place):
    result = call("train", "--steps", 2, *TINY)
    assert "starting from s-af" in result.stderr
    assert "target film, which s-af was made for" in result.stderr
    assert "at most" in result.stderr
    assert "photometric" in result.stdout
    run = place / "home" / "train" / "s-af-ss"
    results = json.loads((run / "results.json").read_text())
    assert set(results["before"]) == set(results["after"])
    assert {"objective", "covered", "epe"} <= set(results["before"])
    assert results["before"] != results["after"]
    pairs = json.loads((run / "pairs.json").read_text())
    assert pairs["held_out"]
    assert pairs["trained"]
    assert (run / "config.toml").exists()
    known = json.loads(call("models", "--json").stdout)
    assert known["s-af-ss"]["target"] == "film"
    assert known["s-af-ss"]["steps"] == 2
    assert "s-af-ss" in call("models").stdout


def test_models_are_listed_on_a_line_each_however_long_their_command_was(place):
    save("long", raft_small(), {"target": "film", "made_by": "autoflow train " + 30 * "--set a=b "})
    lines = call("models").stdout.splitlines()
    known = json.loads(call("models", "--json").stdout)
    assert len(lines) == len(known) + 5  # title, heading and rules
    assert max(map(len, lines)) <= 120
    (line,) = [line for line in lines if line.split()[:1] == ["long"]]
    assert "autoflow train --set a=b" in line
    assert "…" in line
    assert known["long"]["made_by"].endswith("--set a=b ")


def test_two_steps_and_two_more_are_four(place):
    call("train", "--name", "once", "--steps", 4, *TINY)
    call("train", "--name", "twice", "--steps", 2, *TINY)
    again = call("train", "--name", "twice", "--steps", 4, "--json", *TINY)
    assert json.loads(again.stdout)["steps"] == 4
    once, twice = (
        load_file(place / "home" / "models" / f"{name}.safetensors") for name in ("once", "twice")
    )
    assert all(torch.equal(once[key], twice[key]) for key in once)
    started = load_file(place / "home" / "models" / "s-af.safetensors")
    assert any(not torch.equal(once[key], started[key]) for key in once)


def test_a_dry_run_shows_and_writes_nothing(place):
    result = call("train", "--dry-run", *TINY)
    assert 'init = "s-af"' in result.stdout
    assert sorted(path.name for path in (place / "home").iterdir()) == ["models"]


def test_evaluate_prints_a_table_or_only_json(place):
    table = call("evaluate", "--model", "zero", "--data", "film").stdout
    assert "zero on film clean: 9 pairs" in table
    result = json.loads(call("evaluate", "--model", "zero", "--data", "film", "--json").stdout)
    for part in ("film clean", "film final"):
        assert result["results"][part]["pooled"]["all"]["epe"] == pytest.approx(3)
        assert result["results"][part]["per_image"]["all"]["1px"] == 0
    better = json.loads(call("evaluate", "--model", "dis", "--data", "film", "--json").stdout)
    assert better["results"]["film clean"]["pooled"]["all"]["epe"] < 1


def test_predict_writes_flow_pictures_and_film_and_goes_on(place):
    arguments = ("predict", "--model", "dis", "film/training/clean/pan", "--out", "out")
    result = json.loads(call(*arguments, "--visualize", "--json").stdout)
    assert result["written"] == 9
    flow = read_flo(place / "out" / "frame_0003.flo")
    assert np.median(flow[..., 0]) == pytest.approx(-3, abs=0.2)
    assert (place / "out" / "color" / "frame_0008.png").exists()
    assert (place / "out" / "flow.mp4").exists()
    (place / "out" / "frame_0003.flo").unlink()
    again = json.loads(call(*arguments, "--json").stdout)
    assert (again["written"], again["kept"]) == (1, 8)


def test_predict_writes_kitti_and_npy(place):
    for kind, suffix in (("kitti", "png"), ("npy", "npy")):
        call(
            "predict", "--model", "zero", "film/training/clean/pan", "--out", kind, "--format", kind
        )
        assert (place / kind / f"frame_0000.{suffix}").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "--model", "nonsense", "--data", "film"], "nonsense"),
        (["evaluate", "--model", "dis", "--data", "nowhere"], "nowhere"),
        (["evaluate", "--model", "dis"], "data"),
        (["evaluate", "--model", "dis", "--data", "kitti"], "kitti"),
        (["evaluate", "--model", "dis", "--data", "film", "--set", "iterations=0"], "iterations"),
        (["predict", "--model", "dis", "nowhere", "--out", "out"], "nowhere"),
        (["predict", "--model", "dis", "film", "--out", "film"], "--out"),
        (["predict", "--model", "dis", "film", "--out", "note.txt/out"], "note.txt"),
        (["train", "--init", "nonsense", "--target", "film"], "nonsense"),
        (["train", "--init", "dis", "--target", "film"], "dis"),
        (["train", "--target", "nowhere"], "nowhere"),
        (["train", "--set", "losses.terms.smothness=1"], "smoothness"),
        (["train", "--set", "crop=[0, 64]"], "crop"),
        (["train", "--steps", "1", "--out", "film", *TINY], "film"),
        (["train", "--device", "cuda:99"], "cuda:99"),
        (["train", "--config", "note.txt"], "note.txt"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(place, arguments, said):
    (place / "note.txt").write_text("not toml")
    before = sorted(place.rglob("*"))
    result = call(*arguments, expect=2)
    assert said in result.stderr.strip().splitlines()[-1]
    assert sorted(place.rglob("*")) == before


def test_broken_frames_are_named(place):
    frame = place / "film" / "training" / "clean" / "pan" / "frame_0004.png"
    frame.write_text("this is text")
    result = call("predict", "--model", "zero", frame.parent, "--out", "out", expect=2)
    assert "frame_0004.png" in result.stderr
    assert not list((place / "out").glob(".*"))


def test_evaluate_takes_the_shipped_model_where_none_is_named(place):
    result = call("evaluate", "--data", "film", "--iterations", 1, "--device", "cpu", "--json")
    assert json.loads(result.stdout)["model"] == "s-af-small"


def test_train_says_that_it_replaces_another_runs_network(place):
    assert "is replaced" not in call("train", "--dry-run", *TINY).stderr
    torch.manual_seed(1)
    save("s-af-ss", raft_small(), {"target": "film"})
    said = call("train", "--dry-run", *TINY).stderr
    assert "s-af-ss.safetensors of another run is replaced" in said
