from pathlib import Path

import pytest
import torch
import torchvision

import representation
from representation.encoder import Encoder
from representation.export import export
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


def test_weights_of_torchvision_start_an_encoder(tmp_path: Path):
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "published.pth")
    save("mine", trained(), {})
    export("mine", "torchvision", tmp_path / "exported.safetensors")
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
