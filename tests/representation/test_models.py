from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.transforms.functional import normalize

import representation
from representation.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder
from representation.export import export_torchvision
from representation.models import save
from representation.resnet import ResNet
from representation.weights import initialise
from selfflow.runs.errors import UserError
from selfflow.runs.store import save_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def trained(architecture: str = "resnet18") -> Encoder:
    """Return an encoder whose normalisation has seen something."""
    encoder = ResNet(architecture, 8)
    with torch.no_grad():
        encoder(torch.rand(2, 3, 48, 64))
    return encoder.eval()


def test_a_saved_encoder_comes_back_under_its_name():
    encoder, images = trained(), torch.rand(1, 3, 40, 56)
    path = save("mine", encoder, {"target": "sample"})
    for name in ("mine", str(path)):
        again = representation.load(name)
        assert not again.training
        with torch.no_grad():
            assert torch.equal(again(images), encoder(images))
    assert representation.load("mine", stride=32).stride == 32


@pytest.mark.parametrize(
    ("architecture", "suffix"), [("resnet18", ".safetensors"), ("resnet50", ".pth")]
)
def test_torchvision_loads_what_is_exported(tmp_path: Path, architecture: str, suffix: str):
    encoder = trained(architecture)
    save("mine", encoder, {})
    file = tmp_path / f"weights{suffix}"
    result = export_torchvision("mine", file)
    state = load_file(file) if suffix == ".safetensors" else torch.load(file, weights_only=True)
    make = getattr(torchvision.models, architecture)
    network = make()
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert set(missing) == {"fc.weight", "fc.bias"}
    assert not unexpected
    images = torch.rand(1, 3, 64, 96)
    normalised = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        strided = IntermediateLayerGetter(network, {"layer4": "out"}).eval()(normalised)["out"]
        ours = representation.load("mine", stride=32)(images)
        assert (ours - strided).abs().max() <= 1e-5 * strided.abs().max()
        if architecture == "resnet50":
            dilated = make(replace_stride_with_dilation=result["replace_stride_with_dilation"])
            dilated.load_state_dict(state, strict=False)
            dense = IntermediateLayerGetter(dilated, {"layer4": "out"}).eval()(normalised)["out"]
            assert (encoder(images) - dense).abs().max() <= 1e-5 * dense.abs().max()


def test_weights_of_torchvision_start_an_encoder(tmp_path: Path):
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "published.pth")
    save("mine", trained(), {})
    export_torchvision("mine", tmp_path / "exported.safetensors")
    for source, expected in (
        (str(tmp_path / "published.pth"), network.conv1.weight),
        ("mine", representation.load("mine").conv1.weight),
        (str(tmp_path / "exported.safetensors"), representation.load("mine").conv1.weight),
    ):
        encoder = ResNet("resnet18", 8)
        initialise(encoder, source)
        assert torch.equal(encoder.conv1.weight, expected)


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path):
    save_model("flow", {"w": torch.zeros(1)}, {"kind": "flow"})
    with pytest.raises(UserError, match="no encoder but flow"):
        representation.load("flow")
    with pytest.raises(UserError, match=r"no model 'nobody'.*none yet"):
        representation.load("nobody")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UserError, match=r"text\.pth"):
        initialise(ResNet("resnet18"), str(tmp_path / "text.pth"))
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth is not a state dict"):
        initialise(ResNet("resnet18"), str(tmp_path / "other.pth"))
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "larger.pth")
    with pytest.raises(UserError, match=r"larger\.pth does not fit a resnet18"):
        initialise(ResNet("resnet18"), str(tmp_path / "larger.pth"))
    save("mine", trained(), {})
    with pytest.raises(UserError, match=r"\.pth"):
        export_torchvision("mine", tmp_path / "weights.onnx")
