"""Real runs of the command line, tiny ones."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result

import representation
from representation import pretrain
from representation.cli import main
from representation.models import build, save
from representation.resnet import ResNet
from representation.weights import fill
from selfflow.io import write_image
from selfflow.models import save as save_flow_model
from selfflow.raft import raft_small
from selfflow.runs.store import read_metadata

TINY = [
    *("--device", "cpu", "--set", "frames.short_side=48", "--set", "frames.batch_size=2"),
    *("--set", "views.height=32", "--set", "views.width=32"),
    *("--set", "heads.hidden=8", "--set", "heads.out=4", "--set", "optimizer.warmup=2"),
]


FRAMES = 8


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of frames in which a texture moves by three pixels a frame."""
    folder = tmp_path_factory.mktemp("target") / "film"
    folder.mkdir()
    small = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    texture = F.interpolate(small, (64, 80), mode="bicubic", align_corners=False)[0]
    pixels = (texture.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    for number in range(FRAMES):
        write_image(folder / f"{number:05d}.png", np.roll(pixels, 3 * number, axis=1))
    return str(folder)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run_folder / "checkpoint.pt", weights_only=True)
    tensors = {
        f"{module}.{name}": value
        for module, values in state["modules"].items()
        for name, value in values.items()
    }
    for number, values in state["optimizer"]["state"].items():
        tensors[f"optimizer.{number}"] = values["momentum_buffer"]
    return tensors


def test_pretrain_leaves_an_encoder_a_run_and_a_result(home: Path, film: str):
    result = run(
        "pretrain", "--flow-model", "dis", "--target", film, *TINY, "--steps", "3", "--json"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    folder = home / "pretrain" / "flowe"
    assert summary["steps"] == 3
    assert summary["encoder"] == str(home / "models" / "flowe.safetensors")
    assert summary["run"] == str(folder)
    assert 0 < summary["loss"] < 4
    assert 0 < summary["spread"] <= 1
    assert 0 < summary["valid"] < 1
    assert summary["images_per_second"] > 0
    assert 0 < summary["share_of_time_in_flow"] < 1
    assert 0 <= summary["share_of_time_waiting"] <= 1
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        f"{name}-000003.png" for name in ("views", "matches", "features")
    }
    metadata = read_metadata(home / "models" / "flowe.safetensors")
    assert metadata["kind"] == "encoder"
    assert metadata["target"] == film
    assert metadata["flow_model"] == "dis"
    assert metadata["architecture"] == "resnet18"
    trained = weights(folder)
    for name, value in representation.load("flowe").state_dict().items():
        assert torch.equal(value, trained[f"online.encoder.{name}"])
    assert json.loads((folder / "results.json").read_text())["steps"] == 3
    assert len(json.loads((folder / "pairs.json").read_text())) == FRAMES - 1
    assert list((home / "flow").rglob("*.npy"))
    assert "about" in result.stderr


def test_a_run_may_be_probed_and_so_may_one_that_goes_on(home: Path, film: str, tmp_path: Path):
    for name in ("cat", "dog"):
        for number in range(5):
            pixels = np.full((40, 40, 3), 200 * (name == "dog") + number, np.uint8)
            write_image(tmp_path / "pets" / name / f"{number}.png", pixels)
    arguments = ("--method", "byol", "--target", film, *TINY, "--set", "frames.batch_size=4")
    assert run("pretrain", *arguments, "--steps", "1").exit_code == 0
    probed = ("--set", f"probe.data={tmp_path / 'pets'}", "--steps", "2", "--json")
    result = run("pretrain", *arguments, *probed)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["probe_accuracy"] in (0, 0.5, 1)
    assert "probe_miou" not in summary
    wrong = run("pretrain", *arguments, "--set", f"probe.data={tmp_path / 'nothing'}")
    assert wrong.exit_code == 2
    assert "nothing'" in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(
    home: Path, film: str, monkeypatch: pytest.MonkeyPatch
):
    arguments = ["pretrain", "--flow-model", "dis", "--target", film, *TINY, "--steps", "10"]
    assert run(*arguments, "--out", str(home / "whole")).exit_code == 0
    step = pretrain.CollapseWatch.after_step

    def stop_after_five(watch: pretrain.CollapseWatch, number: int) -> None:
        step(watch, number)
        if number == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pretrain.CollapseWatch, "after_step", stop_after_five)
    stopped = run(*arguments, "--out", str(home / "parts"))
    assert stopped.exit_code == 130, stopped.output
    monkeypatch.undo()
    monkeypatch.setenv("SELFFLOW_HOME", str(home))
    assert torch.load(home / "parts" / "checkpoint.pt")["result"]["steps"] == 5
    resumed = run(*arguments, "--out", str(home / "parts"))
    assert resumed.exit_code == 0, resumed.output
    whole, parts = weights(home / "whole"), weights(home / "parts")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.parametrize("kind", ["timm", "moco", "run", "store"])
def test_first_weights_come_from_anywhere(kind: str, home: Path, film: str, tmp_path: Path):
    torch.manual_seed(3)
    given = timm.create_model("test_resnet").state_dict()
    encoder = build("timm/test_resnet", 32)
    fill(encoder, given, "timm")
    path = tmp_path / "first.pth"
    named = {"moco": "module.encoder_q.", "run": "encoder."}.get(kind, "")
    state = {f"{named}{name}": value for name, value in given.items()}
    if kind == "run":
        path = tmp_path / "run"
        path.mkdir()
        torch.save({"modules": {"online": state}}, path / "checkpoint.pt")
    else:
        torch.save({"state_dict": state} if kind == "moco" else state, path)
    if kind == "store":
        save("first", encoder, {})
    init = "first" if kind == "store" else str(path)
    ask = ("--method", "byol", "--target", film, "--init", init)
    own = ("encoder.architecture=timm/test_resnet", "frames.batch_size=4", "loop.pictures_every=0")
    rest = ("optimizer.learning_rate=1e-20", "optimizer.warmup=0")
    settings = [part for change in (*own, *rest) for part in ("--set", change)]
    result = run("pretrain", *ask, *TINY, *settings, "--steps", "1")
    assert result.exit_code == 0, result.output
    assert ("fc" in result.stderr) == (kind != "store")
    found = representation.load("byol").state_dict()["network.layer4.0.conv1.weight"]
    assert torch.equal(found, given["layer4.0.conv1.weight"])


def test_normalisation_and_probe_are_said_beforehand(film: str, tmp_path: Path):
    for name in ("cat", "dog"):
        for number in range(5):
            write_image(tmp_path / "pets" / name / f"{number}.png", np.zeros((9, 9, 3), np.uint8))
    settings = ("moco.parts=2", "frames.batch_size=4", f"probe.data={tmp_path / 'pets'}")
    more = [part for change in settings for part in ("--set", change)]
    result = run("pretrain", "--method", "moco", "--target", film, *TINY, *more, "--dry-run")
    assert "batch normalisation: 2 parts of 2 images by themselves" in result.stderr
    assert f"probe: 10 images of {tmp_path / 'pets'} every 200 steps" in result.stderr


def test_the_target_is_that_of_the_flow_model(film: str):
    save_flow_model("small", raft_small(), {"target": film})
    rest = [*TINY, "--set", "flow_iterations=1", "--dry-run"]
    result = run("pretrain", "--flow-model", "small", *rest)
    assert result.exit_code == 0, result.output
    assert f"target: {film}, for which flow model small was made" in result.stderr
    assert f'target = "{film}"' in result.stdout


def test_a_dry_run_writes_nothing(home: Path, film: str):
    result = run("pretrain", "--flow-model", "zero", "--target", film, *TINY, "--dry-run")
    assert result.exit_code == 0, result.output
    assert 'flow_model = "zero"' in result.stdout
    assert "about" in result.stderr
    assert not home.exists()


def test_other_settings_run_and_flow_is_kept_only_if_asked(home: Path, film: str):
    changes = ("cache_flow=false", "flowe.loss_at=pixels", "flowe.symmetric=true")
    changes += ("loop.precision=bfloat16", "views.affine=false")
    settings = [part for change in changes for part in ("--set", change)]
    arguments = ("--flow-model", "zero", "--target", film, *TINY, *settings)
    result = run("pretrain", *arguments, "--steps", "1", "--name", "other")
    assert result.exit_code == 0, result.output
    assert (home / "models" / "other.safetensors").exists()
    assert not (home / "flow").exists()


@pytest.mark.parametrize("name", ["byol", "simclr", "moco"])
def test_views_of_images_or_of_two_frames_need_no_flow_model(home: Path, film: str, name: str):
    variants = ("views.pre_crop=40", "views.video=true", "frames.batch_size=4")
    variants += ("encoder.architecture=timm/test_resnet",)
    settings = [part for change in variants for part in ("--set", change)]
    arguments = ("--method", name, "--target", film, *TINY, *settings, "--steps", "2")
    result = run("pretrain", *arguments, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["loss"] > 0
    assert 0 < summary["spread"] <= 1
    metadata = read_metadata(home / "models" / f"{name}.safetensors")
    assert metadata["method"] == name
    assert metadata["flow_model"] is None
    pairs = json.loads((home / "pretrain" / name / "pairs.json").read_text())
    assert len(pairs) == FRAMES - 1
    assert "pairs of" in result.stderr


def test_export_writes_a_file(tmp_path: Path):
    save("mine", ResNet("resnet18"), {})
    out = tmp_path / "out" / "weights.pth"
    result = run("export", "--encoder", "mine", "--to", "torchvision", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["file"] == str(out)
    assert torch.load(out, weights_only=True).keys() == ResNet("resnet18").state_dict().keys()


def test_without_a_flow_model_the_shipped_one_is_taken_and_named() -> None:
    result = run("pretrain", "--target", "sample", *TINY, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "flow model: s-af-small" in result.stderr
    assert 'flow_model = "s-af-small"' in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flow-model", "dis"], "--target is needed: dis was not made for one"),
        (["--flow-model", "nobody", "--target", "sample"], "nobody"),
        (["--flow-model", "zero", "--target", "nowhere"], "nowhere"),
        (
            ["--flow-model", "zero", "--target", "sample", "--method", "magic"],
            "no method 'magic'; known are flowe",
        ),
        (["--flow-model", "zero", "--target", "sample", "--set", "views.hight=3"], "views.height"),
        (
            ["--flow-model", "zero", "--target", "sample", "--set", "views.scale=[2.0, 0.5]"],
            "turned round",
        ),
        (["--flow-model", "zero", "--target", "sample", "--set", "views.height=0"], "views.height"),
        (
            ["--flow-model", "zero", "--target", "sample", "--set", "encoder.stride=7"],
            "encoder.stride",
        ),
        (["--flow-model", "zero", "--target", "sample", "--init", "nobody"], "nobody"),
        (
            ["--method", "moco", "--target", "sample", "--set", "moco.parts=3"],
            "moco.parts = 3",
        ),
        (
            ["--method", "byol", "--target", "sample", "--set", "views.pre_crop=3"],
            "views.pre_crop",
        ),
        (
            ["--flow-model", "zero", "--target", "sample", "--set", "encoder.architecture=vgg"],
            "known are resnet18, resnet34, resnet50, resnet101, and timm/NAME",
        ),
        (["--flow-model", "zero", "--target", "sample", "--steps", "0"], "loop.steps"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(home: Path, arguments: list[str], message: str):
    result = run("pretrain", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not home.exists()


def test_a_folder_that_is_something_else_is_left_alone(home: Path, tmp_path: Path, film: str):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    result = run(
        "pretrain",
        "--flow-model",
        "zero",
        "--target",
        film,
        *TINY,
        "--steps",
        "1",
        "--out",
        str(tmp_path / "mine"),
    )
    assert result.exit_code == 2
    assert "nor a run" in result.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not home.exists()


def test_an_unreadable_place_for_an_export_is_one_line(tmp_path: Path):
    save("mine", ResNet("resnet18"), {})
    (tmp_path / "file").write_text("")
    result = run("export", "--encoder", "mine", "--out", str(tmp_path / "file" / "weights.pth"))
    assert result.exit_code == 2
    assert "weights.pth" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
