"""First weights by the names of torchvision, timm, MoCo and our own runs."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from representation.encoder import Encoder
from representation.models import build, save
from representation.resnet import ResNet
from representation.weights import fill, initialise
from selfflow.runs.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@cache
def network(seed: int) -> dict[str, Tensor]:
    """A ResNet-18 of torchvision's with its own weights, without a classifier."""
    torch.manual_seed(seed)
    return ResNet("resnet18").state_dict()


def named(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def moco_checkpoint() -> dict[str, Any]:
    """What MoCo's code saves: two networks with heads, a queue, the optimiser's state."""
    state = {
        **named("module.encoder_k.", network(1)),
        "module.encoder_k.fc.0.weight": torch.zeros(4, 4),
        **named("module.encoder_q.", network(2)),
        "module.encoder_q.fc.0.weight": torch.zeros(4, 4),
        "module.encoder_q.fc.2.weight": torch.zeros(2, 4),
        "module.queue": torch.zeros(2, 8),
    }
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    weight.grad = torch.ones(2)
    optimizer.step()
    return {"epoch": 3, "arch": "x", "state_dict": state, "optimizer": optimizer.state_dict()}


def run_checkpoint() -> dict[str, Any]:
    """What our own runs save, the target first."""
    modules = {
        "target": named("encoder.", network(1)),
        "online": {**named("encoder.", network(2)), "projector.0.weight": torch.zeros(2, 2)},
        "predictor": {"0.weight": torch.zeros(2, 2)},
    }
    return {"modules": modules, "optimizer": {"state": {}}, "random": {"torch": torch.zeros(3)}}


SOURCES = {
    "torchvision": lambda: {**network(2), "fc.weight": torch.zeros(5, 512)},
    "moco": moco_checkpoint,
    "run": run_checkpoint,
    "wrapped": lambda: {"model": named("backbone.", network(2))},
    "parallel": lambda: {"state_dict": named("module.", network(2))},
}
LEFT_OUT = {
    "torchvision": "fc (1)",
    "moco": "encoder_k (121), fc (2), queue (1)",
    "run": "target (120), projector (1), predictor (1)",
    "wrapped": None,
    "parallel": None,
}


@pytest.mark.parametrize("source", SOURCES)
def test_known_names_are_found_and_the_rest_is_named(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save(SOURCES[source](), tmp_path / "weights.pth")
    encoder = ResNet("resnet18")
    initialise(encoder, str(tmp_path / "weights.pth"))
    for name, value in network(2).items():
        assert torch.equal(encoder.state_dict()[name], value), name
    said, expected = capsys.readouterr().err, LEFT_OUT[source]
    assert (expected is None) == (said == "")
    assert expected is None or f"left out, with their numbers of tensors: {expected}" in said


def test_a_runs_folder_and_a_safetensors_file_are_weights_too(tmp_path: Path):
    (tmp_path / "run").mkdir()
    torch.save(run_checkpoint(), tmp_path / "run" / "checkpoint.pt")
    save_file(network(2), tmp_path / "weights.safetensors")
    for source in ("run", "weights.safetensors"):
        encoder = ResNet("resnet18")
        initialise(encoder, str(tmp_path / source))
        assert torch.equal(encoder.conv1.weight, network(2)["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        (
            "test_convnext",
            "network.stages_3.blocks.0.conv_dw.weight",
            "stages.3.blocks.0.conv_dw.weight",
        ),
        ("test_vit", "network.model.blocks.5.mlp.fc1.weight", "blocks.5.mlp.fc1.weight"),
        ("test_resnet", "network.layer4.0.conv1.weight", "layer4.0.conv1.weight"),
    ],
)
def test_timms_own_networks_fill_its_feature_maps(name: str, ours: str, theirs: str):
    torch.manual_seed(1)
    whole = timm.create_model(name, pretrained=False).state_dict()
    encoder = build(f"timm/{name}", 16 if "vit" in name else 32)
    (line,) = fill(encoder, whole, "timm")
    assert line.startswith("left out")
    assert ("fc (2)" if "resnet" in name else "head (") in line
    assert torch.equal(encoder.state_dict()[ours], whole[theirs])


def decoded(name: str) -> Encoder:
    torch.manual_seed(5)
    return build(name, 32, "fpn")


@pytest.mark.parametrize("name", ["resnet18", "timm/test_convnext"])
def test_decoders_come_along_stay_random_or_are_left_out(
    name: str, capsys: pytest.CaptureFixture[str]
):
    first, bare = decoded(name), build(name, 32)
    save("decoded", first, {})
    save("bare", bare, {})
    again = build(name, 32, "fpn")
    initialise(again, "decoded")
    assert torch.equal(again.decoder.last.weight, first.decoder.last.weight)
    assert capsys.readouterr().err == ""
    before = again.decoder.last.weight.clone()
    initialise(again, "bare")
    assert "the decoder starts random" in capsys.readouterr().err
    assert torch.equal(again.decoder.last.weight, before)
    initialise(bare, "decoded")
    assert "left out, with their numbers of tensors: decoder (" in capsys.readouterr().err
    for key, value in bare.state_dict().items():
        assert torch.equal(value, first.state_dict()[key])


def test_what_does_not_fit_is_refused():
    encoder = ResNet("resnet18")
    deeper = ResNet("resnet34").state_dict()
    with pytest.raises(UserError, match=r"x does not fit a resnet18: layer1\.2\S+ is too much"):
        fill(encoder, deeper, "x")
    with pytest.raises(UserError, match=r"layer1\.2\.conv1\.weight is missing"):
        fill(ResNet("resnet34"), network(0), "x")
    with pytest.raises(UserError, match=r"conv1\.weight is \(2, 2\), not \(64, 3, 7, 7\)"):
        fill(encoder, {**network(0), "conv1.weight": torch.zeros(2, 2)}, "x")
    with pytest.raises(UserError, match="is missing"):
        fill(encoder, {"other": torch.zeros(2)}, "x")
    part = {k: v for k, v in decoded("resnet18").state_dict().items() if "decoder.last" not in k}
    with pytest.raises(UserError, match=r"decoder\.last\.weight is missing"):
        fill(decoded("resnet18"), part, "x")


def test_old_files_without_counts_of_batches_are_taken():
    old = {k: v for k, v in network(2).items() if not k.endswith("num_batches_tracked")}
    encoder = ResNet("resnet18")
    assert fill(encoder, old, "x") == []
    assert torch.equal(encoder.conv1.weight, old["conv1.weight"])


def test_torchvisions_own_state_dict_fits():
    for architecture in ("resnet34", "resnet101"):
        whole = getattr(torchvision.models, architecture)().state_dict()
        encoder = build(architecture, 8)
        assert fill(encoder, whole, "x") == ["left out, with their numbers of tensors: fc (2)"]
        assert torch.equal(encoder.layer4[2].bn1.weight, whole["layer4.2.bn1.weight"])
