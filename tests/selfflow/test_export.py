"""Exported networks, run by onnxruntime, beside the networks they were made from."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from selfflow.cli import main
from selfflow.export import export_onnx, largest_difference
from selfflow.models import load_network, save
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError

ARCHITECTURES = ["raft-small", "raft-large", "raft-large-instance"]


def network(architecture: str) -> RAFT:
    torch.manual_seed(0)
    made = RAFT(architecture).eval()
    for name, buffer in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2)  # so that it matters whether they are taken over
    return made


def flow_of(path: Path, image1: torch.Tensor, image2: torch.Tensor) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (flow,) = session.run(None, {"image1": image1.numpy(), "image2": image2.numpy()})
    return np.asarray(flow)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name == "raft-small" else SLOW) for name in ARCHITECTURES],
)
def test_a_file_for_any_size_gives_the_networks_flow(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    made = network(architecture)
    export_onnx(made, tmp_path / "any.onnx", iterations=3)
    # Padded to the smallest size; odd sides; several levels that are larger than a window.
    for shape in ((1, 3, 30, 50), (2, 3, 97, 141), (1, 3, 168, 200)):
        image1, image2 = torch.rand(2, *shape)
        with torch.no_grad():
            expected = made(image1, image2, 3).numpy()
        assert np.abs(expected).max() > 0.1, "or the comparison would say nothing"
        np.testing.assert_allclose(
            flow_of(tmp_path / "any.onnx", image1, image2), expected, atol=1e-3
        )


@pytest.mark.parametrize("architecture", ["raft-small", "raft-large"])
def test_a_file_for_one_size_gives_the_networks_flow(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = network(architecture)
    export_onnx(made, tmp_path / "one.onnx", iterations=5, size=(75, 90))
    assert largest_difference(made, tmp_path / "one.onnx", 5, (75, 90)) < 1e-3
    assert largest_difference(made, tmp_path / "one.onnx", 4, (75, 90)) > 1e-2
    image1, image2 = torch.rand(2, 3, 3, 75, 90)
    with torch.no_grad():
        expected = made(image1, image2, 5).numpy()
    np.testing.assert_allclose(flow_of(tmp_path / "one.onnx", image1, image2), expected, atol=1e-3)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export_onnx(
        network("raft-small"), tmp_path / "a.onnx", iterations=7, size=(64, 72),
        metadata={"target": "davis", "steps": 12},
    )  # fmt: skip
    model = onnx.load(tmp_path / "a.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["architecture"] == "raft-small"
    assert (said["iterations"], said["size"]) == ("7", "64x72")
    assert (said["target"], said["steps"]) == ("davis", "12")
    assert "[0, 1]" in said["input"]
    shapes = {
        value.name: [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image1": ["batch", 3, 64, 72],
        "image2": ["batch", 3, 64, 72],
        "flow": ["batch", 2, 64, 72],
    }


def test_without_the_extra_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"onnx is needed.*selfflow\[onnx\]"):
        export_onnx(network("raft-small"), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFFLOW_HOME", "home")
    save("mine", network("raft-small"), {"target": "sample"})
    return tmp_path


def test_the_command_writes_and_compares(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    call = ["export", "--model", "mine", "--out", "a/mine.onnx", "--iterations", "4", "--json"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["file"] == "a/mine.onnx"
    assert said["difference_in_onnxruntime_px"] < 1e-3
    assert "any size" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "448"], "448x1024"),
        (["--size", "0x64"], "size"),
        (["--iterations", "0"], "iterations"),
        (["--model", "dis"], "dis is no network"),
        (["--model", "nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    place: Path, arguments: list[str], said: str
) -> None:
    before = sorted(place.rglob("*"))
    result = CliRunner().invoke(main, ["export", "--out", "bad.onnx", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr.strip().splitlines()[-1]
    assert sorted(place.rglob("*")) == before


def test_the_command_writes_weights_in_half_precision(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    call = ["export", "--model", "default-small", "--to", "safetensors", "--out", str(out)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    read = load_network(out)[0].state_dict()
    for name, value in load_network("default-small")[0].state_dict().items():
        assert torch.equal(read[name], value), "the shipped one is rounded already"
