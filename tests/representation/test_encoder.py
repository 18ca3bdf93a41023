import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.functional import normalize

from representation.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    cell_positions,
    read_features,
)
from representation.resnet import ResNet


def randomise_statistics(network: nn.Module) -> None:
    """Give batch normalisation statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def torchvision_features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    x = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


@pytest.mark.parametrize(
    ("architecture", "stride"),
    [("resnet50", 4), ("resnet50", 8), ("resnet50", 16), ("resnet50", 32), ("resnet101", 8)],
)
def test_bottlenecks_equal_torchvisions_dilated_ones(architecture: str, stride: int):
    encoder = ResNet(architecture, stride).eval()
    randomise_statistics(encoder)
    dilated = [stride < 8, stride < 16, stride < 32]
    make = getattr(torchvision.models, architecture)
    reference = make(replace_stride_with_dilation=dilated).eval()
    missing, unexpected = reference.load_state_dict(encoder.state_dict(), strict=False)
    assert set(missing) == {"fc.weight", "fc.bias"}
    assert not unexpected
    images = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), torchvision_features(reference, images))


def test_resnet18_without_dilation_equals_torchvisions():
    encoder = ResNet("resnet18", 32).eval()
    randomise_statistics(encoder)
    reference = torchvision.models.resnet18().eval()
    reference.load_state_dict(encoder.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), torchvision_features(reference, images))


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_dense_features_hold_the_strided_ones(architecture: str):
    strided = ResNet(architecture, 32).eval()
    randomise_statistics(strided)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = strided(images)
        for stride in (16, 8, 4):
            dense = ResNet(architecture, stride).eval()
            dense.load_state_dict(strided.state_dict())
            every = 32 // stride
            found = dense(images)[:, :, ::every, ::every]
            assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("architecture", "stride"),
    [("resnet18", 4), ("resnet18", 8), ("resnet18", 16), ("resnet18", 32), ("resnet50", 8)],
)
def test_a_cell_is_centred_on_the_pixel_stride_times_its_index(architecture: str, stride: int):
    """What an output cell sees is symmetric about the pixel that `cell_positions` names."""
    encoder = ResNet(architecture, stride).eval()
    for module in encoder.modules():
        # Everything positive, so that no path cancels another.
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    encoder.maxpool = nn.AvgPool2d(3, 2, 1)
    encoder.mean.zero_()
    # Shrink what is seen to a size that fits: in the later stages only the first block stays.
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        del stage[1:]
    height, width = 256, 288
    row, column = 128 // stride, 160 // stride
    images = torch.full((1, 3, height, width), 0.5, requires_grad=True)
    encoder(images)[0, 0, row, column].backward()
    seen = images.grad[0, 0].double()
    centre = cell_positions(row + 1, column + 1, stride)[0, :, row, column]
    assert seen.sum() > 0
    for axis, middle in enumerate(centre.tolist()):
        profile = seen.sum(axis)
        where = profile.nonzero()[:, 0].double()
        assert where.min() > 0
        assert where.max() < len(profile) - 1
        assert (where.min() + where.max()) / 2 == middle
        places = torch.arange(len(profile), dtype=torch.float64)
        assert (profile * places).sum() / profile.sum() == pytest.approx(middle, abs=1e-3)


@pytest.mark.parametrize("size", [(64, 96), (61, 95), (65, 97)])
def test_there_are_as_many_cells_as_promised(size: tuple[int, int]):
    with torch.no_grad():
        for stride in (8, 32):
            features = ResNet("resnet18", stride)(torch.rand(1, 3, *size))
            assert features.shape == (1, 512, -(-size[0] // stride), -(-size[1] // stride))


def test_reading_at_the_cells_returns_the_features():
    features = torch.randn(2, 5, 4, 6)
    found = read_features(features, cell_positions(4, 6, 8), 8)
    torch.testing.assert_close(found, features)


def test_reading_at_all_pixels_is_linear_upsampling_from_the_cells_centres():
    features = torch.randn(1, 5, 4, 6, dtype=torch.float64)
    pixels = cell_positions(25, 41, 1).double()
    # Between the first and the last centre this is torch's upsampling with aligned corners.
    expected = F.interpolate(features, (25, 41), mode="bilinear", align_corners=True)
    torch.testing.assert_close(read_features(features, pixels, 8), expected)


def test_beyond_the_last_centre_the_last_cell_is_read():
    features = torch.randn(1, 5, 4, 6)
    beyond = torch.tensor((47.0, 31.0)).view(1, 2, 1, 1)
    torch.testing.assert_close(read_features(features, beyond, 8)[..., 0, 0], features[..., -1, -1])


def test_cells_may_have_an_offset():
    cells = cell_positions(4, 6, 8, 3.5)
    assert cells[0, :, 1, 2].tolist() == [19.5, 11.5]
    features = torch.randn(2, 5, 4, 6)
    torch.testing.assert_close(read_features(features, cells, 8, 3.5), features)
    # A quarter of the way from one cell to the next.
    found = read_features(
        features, cells[:, :, :, :-1] + torch.tensor((2.0, 0.0)).view(1, 2, 1, 1), 8, 3.5
    )
    torch.testing.assert_close(found, 0.75 * features[..., :-1] + 0.25 * features[..., 1:])


def test_an_encoder_says_where_its_features_lie():
    encoder = ResNet("resnet18", 16)
    assert torch.equal(encoder.positions(60, 90), cell_positions(4, 6, 16))
    assert encoder.offset == 0
    assert encoder.stage_strides == (4, 8, 16, 16)
    assert encoder.stage_channels == (64, 128, 256, 512)
    stages = encoder.stages(torch.rand(1, 3, 60, 90))
    assert [tuple(s.shape[1:]) for s in stages] == [
        (channels, -(-60 // stride), -(-90 // stride))
        for channels, stride in zip(encoder.stage_channels, encoder.stage_strides, strict=True)
    ]


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="stride"):
        ResNet("resnet18", 2)
    with pytest.raises(ValueError, match="architecture"):
        ResNet("vgg", 8)
