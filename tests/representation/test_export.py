"""What is exported is loaded strictly by the other libraries, and they compute the same."""

import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from representation.cli import main
from representation.decoder import FPN
from representation.encoder import Encoder
from representation.export import Library, detectron2_name, export
from representation.models import build, load, save
from selfflow.runs.errors import UserError

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def trained(architecture: str, stride: int, decoder: str = "none") -> Encoder:
    """Store an encoder whose normalisation has seen something, as "mine"."""
    torch.manual_seed(0)
    encoder = build(architecture, stride, decoder)
    with torch.no_grad():
        encoder(torch.rand(2, 3, 64, 64))
    save("mine", encoder, {})
    return encoder.eval()


def read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, weights_only=True)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def torchvision_features(network: nn.Module, images: Tensor) -> Tensor:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


@pytest.mark.parametrize(
    ("architecture", "stride", "suffix"),
    [
        ("resnet18", 32, ".safetensors"),
        ("resnet50", 8, ".pth"),
        ("timm/resnet18", 32, ".pt"),
    ],
)
@torch.no_grad()
def test_torchvision_loads_it_strictly(
    architecture: str, stride: int, suffix: str, tmp_path: Path
) -> None:
    encoder = trained(architecture, stride)
    result = export("mine", "torchvision", tmp_path / f"weights{suffix}")
    dilated = result["replace_stride_with_dilation"]
    assert dilated == [False, stride < 16, stride < 32]
    make = getattr(torchvision.models, architecture.removeprefix("timm/"))
    network = make(replace_stride_with_dilation=dilated).eval() if any(dilated) else make().eval()
    network.fc = nn.Identity()
    network.load_state_dict(read(tmp_path / f"weights{suffix}"), strict=True)
    images = normalize(IMAGES, result["mean"], result["std"])
    assert_equal(torchvision_features(network, images), encoder(IMAGES))
    pooled = network(images)
    assert_equal(pooled, encoder(IMAGES).mean((2, 3)))


@pytest.mark.parametrize(
    ("architecture", "stride"),
    [
        ("resnet18", 32),
        ("timm/resnet18", 8),
        ("timm/test_convnext", 32),
        ("timm/test_vit", 16),
        ("timm/test_efficientnet", 32),
    ],
)
@torch.no_grad()
def test_timm_loads_it_strictly(architecture: str, stride: int, tmp_path: Path) -> None:
    encoder = trained(architecture, stride)
    file = tmp_path / "weights.safetensors"
    result = export("mine", "timm", file)
    name, option = result["create_model"].split(", ")
    options = {"num_classes=0": {"num_classes": 0}, "features_only=True": {"features_only": True}}
    more = {"output_stride": 8} if stride == 8 else {}
    if "vit" in name:
        more = {"dynamic_img_size": True}
    network = timm.create_model(name, pretrained=False, **options[option], **more).eval()
    network.load_state_dict(load_file(file), strict=True)
    images = normalize(IMAGES, result["mean"], result["std"])
    if option == "num_classes=0":
        assert_equal(network.forward_features(images), encoder(IMAGES))
        assert_equal(network(images), encoder(IMAGES).mean((2, 3)))
    else:
        assert_equal(network(images)[-1], encoder(IMAGES))


@torch.no_grad()
def test_detectron2s_names_come_back_to_torchvisions(tmp_path: Path) -> None:
    encoder = trained("resnet50", 8)
    result = export("mine", "detectron2", tmp_path / "weights.pth")
    state = read(tmp_path / "weights.pth")
    assert {name: tuple(state[name].shape) for name in SOME} == SOME
    assert len(state) == len(encoder.state_dict())
    assert all(torch.equal(state[detectron2_name(n)], v) for n, v in encoder.state_dict().items())
    assert result["settings"] == {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
        "INPUT.FORMAT": "RGB",
    }


# As detectron2's own ResNet-50 has them.
SOME = {
    "stem.conv1.weight": (64, 3, 7, 7),
    "stem.conv1.norm.running_mean": (64,),
    "res2.0.conv1.weight": (64, 64, 1, 1),
    "res2.0.conv3.norm.bias": (256,),
    "res3.0.shortcut.weight": (512, 256, 1, 1),
    "res3.0.shortcut.norm.weight": (512,),
    "res5.2.conv2.norm.running_var": (512,),
}


@torch.no_grad()
def test_a_decoder_is_written_beside(tmp_path: Path) -> None:
    encoder = trained("timm/resnet18", 32, "fpn")
    result = export("mine", "torchvision", tmp_path / "weights.pth")
    assert not any("decoder" in name for name in read(tmp_path / "weights.pth"))
    assert result["decoder"] == str(tmp_path / "weights.decoder.pth")
    decoder = FPN(encoder.stage_channels, encoder.stage_strides, encoder.alignment).eval()
    decoder.load_state_dict(read(tmp_path / "weights.decoder.pth"), strict=True)
    assert_equal(decoder(load("mine").stages(IMAGES), IMAGES.shape[2:]), encoder(IMAGES))


@pytest.mark.parametrize(
    ("architecture", "library", "message"),
    [
        ("timm/test_vit", "torchvision", "torchvision has no network like timm/test_vit"),
        ("timm/test_vit", "detectron2", "detectron2 has no network like timm/test_vit"),
    ],
)
def test_what_a_library_does_not_have_is_refused_in_one_line(
    architecture: str, library: Library, message: str, tmp_path: Path
) -> None:
    trained(architecture, 16)
    file = tmp_path / "weights.pth"
    ask = ["export", "--encoder", "mine", "--to", library, "--out", str(file)]
    result = CliRunner().invoke(main, ask)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not file.exists()


def test_a_flow_network_and_other_files_are_refused(tmp_path: Path) -> None:
    for library in ("torchvision", "timm", "detectron2"):
        with pytest.raises(UserError, match="no network like flow/s-af-small"):
            export("flow/s-af-small", library, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"must end in \.safetensors or \.pth or \.pt"):
        export("random", "timm", tmp_path / "weights.onnx")
    with pytest.raises(UserError, match=r"must end in \.pth"):
        export("random", "detectron2", tmp_path / "weights.pkl")


def test_the_command_tells_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "weights.pth"
    ask = ["export", "--encoder", "random", "--architecture", "resnet18", "--to", "timm"]
    result = CliRunner().invoke(main, [*ask, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["file"] == str(out)
    assert told["create_model"] == "resnet18, num_classes=0"
    assert out.exists()
