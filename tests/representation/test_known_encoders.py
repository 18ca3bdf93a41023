"""Encoders of every kind of name."""

from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision

from representation import known_encoders, models
from representation.decoder import FPN
from representation.flow_encoder import FlowEncoder
from representation.known_encoders import description, find_encoder, fingerprint
from representation.resnet import ResNet
from representation.settings import EncoderSettings, PretrainSettings
from selfflow.models import load_network
from selfflow.raft import raft_large, raft_small
from selfflow.runs.config import to_toml
from selfflow.runs.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_random_depends_on_the_seed_alone():
    first = find_encoder("random", architecture="resnet18", seed=3)
    torch.rand(5)
    again = find_encoder("random", architecture="resnet18", seed=3)
    other = find_encoder("random", architecture="resnet18", seed=4)
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    assert not first.training
    assert first.stride == 8


def test_a_stored_encoder_comes_before_a_built_in_of_its_name():
    encoder = ResNet("resnet18", 16)
    models.save("random", encoder, {"method": "flowe", "target": "davis"})
    found = find_encoder("random")
    assert fingerprint(found) == fingerprint(encoder)
    assert found.stride == 16
    assert find_encoder("random", stride=32).stride == 32
    about = description("random", found)
    assert about["method"] == "flowe"
    assert about["target"] == "davis"
    assert about["stride"] == 16
    assert about["weights"] == fingerprint(encoder)


def test_a_folder_is_a_run_whose_online_network_is_taken(tmp_path: Path):
    settings = PretrainSettings(encoder=EncoderSettings(architecture="resnet18", decoder="fpn"))
    encoder = models.new_encoder(settings.encoder)
    (tmp_path / "config.toml").write_text(to_toml(settings))
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    followers = {name: torch.zeros_like(value) for name, value in weights.items()}
    state = {"modules": {"online": weights, "target": followers}, "step": 1}
    torch.save(state, tmp_path / "checkpoint.pt")
    found = find_encoder(tmp_path)
    assert fingerprint(found) == fingerprint(encoder)
    assert isinstance(found.decoder, FPN)
    about = description(tmp_path, found)
    assert (about["method"], about["seed"], about["init"]) == ("flowe", 0, "random")
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="not the folder of a pre-training run"):
        find_encoder(tmp_path)


def test_foreign_files_are_what_the_architecture_says(tmp_path: Path):
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "published.pth")
    found = find_encoder(tmp_path / "published.pth", architecture="resnet18", stride=4)
    assert torch.equal(found.state_dict()["conv1.weight"], network.conv1.weight)
    assert found.stride == 4
    with pytest.raises(UserError, match="does not fit a resnet50"):
        find_encoder(tmp_path / "published.pth")


def test_imagenet_is_torchvisions_weights(monkeypatch: pytest.MonkeyPatch):
    network = torchvision.models.resnet18()
    published = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(type(published), "get_state_dict", lambda self, **_: network.state_dict())
    found = find_encoder("imagenet", architecture="resnet18")
    assert torch.equal(found.state_dict()["layer4.1.conv2.weight"], network.layer4[1].conv2.weight)
    with pytest.raises(UserError, match="say --encoder timm/vit"):
        find_encoder("imagenet", architecture="timm/vit")


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch):
    def refuse(self: object, **options: object) -> None:
        raise URLError("no network")

    published = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(type(published), "get_state_dict", refuse)
    with pytest.raises(UserError, match=r"cannot fetch https://.*resnet18.*no network"):
        find_encoder("imagenet", architecture="resnet18")
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"cannot fetch timm's weights of resnet18: .*no network"):
        known_encoders._timm("resnet18")


def test_timms_weights_are_timms(monkeypatch: pytest.MonkeyPatch):
    network = timm.create_model("resnet18", pretrained=False)
    monkeypatch.setattr(known_encoders, "_timm", lambda name: network.state_dict())
    found = find_encoder("timm/resnet18").eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = network.eval().forward_features((images - found.mean) / found.std)
        assert torch.equal(found(images), expected)


@pytest.mark.parametrize("make", [raft_small, raft_large])
def test_a_flow_networks_features_are_those_that_it_compares(make):
    network = make().eval()
    found = FlowEncoder(network, "mine").eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = network.feature_encoder(2 * images - 1)
        assert torch.allclose(found(images), expected, atol=1e-5)
        assert found(torch.rand(1, 3, 41, 50)).shape == (1, found.channels, 6, 7)
    assert found.channels == expected.shape[1]
    assert found.stride == 8


def test_a_flow_networks_cells_are_centred_on_every_eighth_pixel():
    found = FlowEncoder(raft_small(), "mine").eval()
    image = torch.full((1, 3, 129, 129), 0.5, requires_grad=True)
    found.network.requires_grad_(False)
    # Instance normalisation looks at all of the image; what is left is a symmetric window.
    for module in found.network.modules():
        if type(module).__name__ == "InstanceNorm":
            module.forward = lambda x: x
    found(image)[..., 8, 8].square().sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert rows.min() + rows.max() == 2 * 64
    assert columns.min() + columns.max() == 2 * 64


def test_a_flow_model_is_named_behind_flow():
    found = find_encoder("flow/default-small")
    assert isinstance(found, FlowEncoder)
    assert fingerprint(found) == fingerprint(FlowEncoder(load_network("default-small")[0], "x"))
    with pytest.raises(UserError, match="stride 8, not 16"):
        find_encoder("flow/default-small", stride=16)


def test_an_unknown_name_is_answered_with_the_known_ones():
    models.save("mine", ResNet("resnet18"), {})
    with pytest.raises(UserError, match=r"'other'.*\(mine\); built in are random, imagenet"):
        find_encoder("other")
