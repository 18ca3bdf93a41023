"""timm's backbones: their own outputs, strides, and where their cells lie."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.transforms.functional import normalize

from representation.models import build, load, save
from representation.timm_encoder import TimmEncoder, cell_alignment
from selfflow.runs.errors import UserError


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("resnet18", 8, 512),
        ("test_convnext", 32, 64),
        ("test_efficientnet", 16, 64),
        ("test_vit", 16, 64),
        pytest.param("swin_tiny_patch4_window7_224", 32, 768, marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_timms_own_model(name: str, stride: int, channels: int):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, stride).eval()
    options = {"output_stride": stride} if stride == 8 or "eff" in name else {}
    if "vit" in name or "swin" in name:
        options = {"dynamic_img_size": True}
    own = timm.create_model(name, features_only=True, pretrained=False, **options).eval()
    own.load_state_dict(encoder.network.state_dict())
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = own(normalize(images, own.pretrained_cfg["mean"], own.pretrained_cfg["std"]))[-1]
        found = encoder(images)
        if name.startswith("swin"):
            expected = expected.permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected)
        odd = encoder(torch.rand(1, 3, 61, 95))
    assert (encoder.stride, encoder.channels) == (stride, channels)
    assert odd.shape == (1, channels, -(-61 // stride), -(-95 // stride))


@pytest.mark.parametrize(
    ("name", "stride", "offset"),
    [
        ("resnet18", 32, 0.0),
        ("resnet18", 8, 0.0),
        ("resnet18d", 32, 0.0),
        ("test_convnext", 32, 15.5),
        ("test_vit", 16, 7.5),
        pytest.param("swin_tiny_patch4_window7_224", 32, 15.5, marks=pytest.mark.slow),
    ],
)
def test_cells_lie_where_the_layers_put_them(name: str, stride: int, offset: float):
    encoder = TimmEncoder(name, stride)
    assert encoder.offset == pytest.approx(offset)
    assert encoder.positions(64, 64)[0, :, 0, 0].tolist() == [offset, offset]


def test_where_cells_lie_agrees_with_what_they_see():
    """The gradient's centre of mass, for kernels that are all positive and symmetric."""

    class Network(nn.Sequential):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [super().forward(x)]

    for layers in (
        [nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1)],
        [nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2)],
        [nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2, 2), nn.Conv2d(4, 4, 3, 1, 1)],
        [nn.Conv2d(3, 4, 5, 2, 0), nn.Conv2d(4, 4, 3, 2, 2, dilation=2)],
    ):
        network = Network(*layers)
        stride = 1
        for layer in layers:
            stride *= layer.stride if isinstance(layer.stride, int) else layer.stride[0]
            if isinstance(layer, nn.Conv2d):
                nn.init.constant_(layer.weight, 0.1)
        offset = cell_alignment(network, stride) * (stride - 1) / 2
        smooth = Network(
            *(nn.AvgPool2d(3, 2, 1) if isinstance(each, nn.MaxPool2d) else each for each in layers)
        )
        image = torch.rand(1, 3, 64, 64, requires_grad=True)
        smooth(image)[0][0, 0, 4, 4].backward()
        seen = image.grad[0, 0].sum(0).double()
        centre = (seen * torch.arange(64)).sum() / seen.sum()
        assert centre.item() == pytest.approx(4 * stride + offset, abs=1e-3)


def test_it_is_kept_in_the_store_and_takes_a_decoder(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path))
    encoder = build("timm/test_efficientnet", 32, "fpn").eval()
    save("mine", encoder, {})
    again = load("mine")
    assert again.architecture == "timm/test_efficientnet"
    images = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        assert torch.equal(again(images), encoder(images))
    assert encoder(images).shape == (1, 128, 13, 18)
    assert min(encoder.stage_strides) == 4


def test_networks_that_do_not_serve_are_refused():
    with pytest.raises(UserError, match=r"timm has no network 'resnot18'"):
        build("timm/resnot18", 8)
    with pytest.raises(UserError, match=r"near are .*resnet18"):
        build("timm/resnet1", 8)
    with pytest.raises(UserError, match=r"timm/test_vit .*stride 16, not 8; set encoder\.stride"):
        build("timm/test_vit", 8)


def test_timms_resnet_is_torchvisions():
    ours = build("timm/resnet18", 32).eval()
    theirs = torchvision.models.resnet18().eval()
    theirs.load_state_dict(ours.network.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    x = normalize(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    with torch.no_grad():
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
        torch.testing.assert_close(ours(images), expected)
