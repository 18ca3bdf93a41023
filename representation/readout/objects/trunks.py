"""Our encoders as backbones of torchvision's detectors.

torchvision's transform has normalised the images by the encoder's own mean and deviation when they
come here, and padded them with zeros after that, so the encoder's stages are asked for directly.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from representation.encoder import Encoder
from representation.resnet import ResNet
from selfflow.runs.errors import UserError

PYRAMID_STRIDES = (4, 8, 16, 32)


class C4Trunk(nn.Module):
    """A ResNet up to its third stage: one map of stride 16 (He et al., "Mask R-CNN", 2017, C4).

    The encoder's fourth stage is not part of it; it becomes the box head, see `Res5`.
    """

    def __init__(self, encoder: ResNet) -> None:
        super().__init__()
        self.stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu, encoder.maxpool)
        self.layer1, self.layer2, self.layer3 = encoder.layer1, encoder.layer2, encoder.layer3
        self.out_channels = encoder.stage_channels[2]

    def forward(self, images: Tensor) -> Tensor:
        """Return features `(B, C, H/16, W/16)` of normalised images."""
        features: Tensor = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return features


class Res5(nn.Module):
    """A ResNet's fourth stage on regions of the third's features, `(N, C, 14, 14)`.

    Args:
        encoder: whose stage it is.
        norm: whether a batch normalisation follows, new and trained: MoCo's (He et al. 2020,
            appendix), because a pre-trained stage's output may be of any size.
    """

    def __init__(self, encoder: ResNet, *, norm: bool) -> None:
        super().__init__()
        self.channels = encoder.stage_channels[3]
        self.stride = encoder.stage_strides[3] // encoder.stage_strides[2]
        self.layer4 = encoder.layer4
        self.norm = nn.BatchNorm2d(self.channels) if norm else nn.Identity()

    def forward(self, regions: Tensor) -> Tensor:
        """Return features `(N, C', 7, 7)`."""
        if not len(regions):
            return nothing(regions, self.channels, self.stride)
        features: Tensor = self.norm(self.layer4(regions))
        return features


class Convolutions(nn.Module):
    """Convolutions on regions, `(N, C, H, W)` to `(N, channels, H, W)`, also of no regions.

    An image without objects gives a mask head nothing to learn from.
    """

    def __init__(self, layers: nn.Module, channels: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels

    def forward(self, regions: Tensor) -> Tensor:
        """Return features."""
        if not len(regions):
            return nothing(regions, self.channels, 1)
        features: Tensor = self.layers(regions)
        return features


def nothing(regions: Tensor, channels: int, stride: int) -> Tensor:
    """Return the features of no regions.

    Batch normalisation of nothing would put NaN into its statistics.
    """
    height, width = regions.shape[-2:]
    return regions.new_zeros(0, channels, -(-height // stride), -(-width // stride))


class PooledRes5(nn.Module):
    """`Res5`, averaged over the region: what boxes are classified by, `(N, C')`."""

    def __init__(self, res5: Res5) -> None:
        super().__init__()
        self.res5 = res5

    def forward(self, regions: Tensor) -> Tensor:
        """Return one vector a region."""
        features: Tensor = self.res5(regions).mean((2, 3))
        return features


class Pyramid(nn.Module):
    """An encoder's stages with Lin et al.'s feature pyramid (CVPR 2017) on top.

    Where the encoder has a decoder whose pyramid is as wide (VADeR's), the new one starts from its
    weights, as VADeR's pre-training of the decoder is meant; what merges its levels has no place.

    Args:
        encoder: with stages at strides 4, 8, 16 and 32.
        channels: of the pyramid.
        first: number of the first stage that is used: 0 (stride 4), or 1 as RetinaNet does.
        norm: whether batch normalisation follows each of the pyramid's convolutions.
    """

    def __init__(self, encoder: Encoder, channels: int, *, first: int, norm: bool) -> None:
        super().__init__()
        if encoder.stage_strides != PYRAMID_STRIDES:
            raise UserError(
                f"{encoder.architecture} has stages at strides {encoder.stage_strides}; a pyramid "
                f"needs {PYRAMID_STRIDES}"
            )
        self.first, self.out_channels = first, channels
        wide = list(encoder.stage_channels[first:])
        extra = LastLevelMaxPool() if first == 0 else LastLevelP6P7(wide[-1], channels)
        self.fpn = FeaturePyramidNetwork(
            wide, channels, extra, norm_layer=nn.BatchNorm2d if norm else None
        )
        self.from_decoder = start_from_decoder(self.fpn, encoder, first)
        encoder.decoder = None  # what is left of it is not used
        self.encoder = encoder

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return the levels of normalised images, from fine to coarse."""
        stages = self.encoder.backbone_stages(images)[self.first :]
        named = OrderedDict((str(number), stage) for number, stage in enumerate(stages))
        levels: OrderedDict[str, Tensor] = self.fpn(named)
        return levels


@torch.no_grad()
def start_from_decoder(fpn: FeaturePyramidNetwork, encoder: Encoder, first: int) -> bool:
    """Copy a decoder's pyramid into another one, if there is one as wide; return whether so."""
    decoder = encoder.decoder
    if decoder is None:
        return False
    copied = [*_pairs(decoder.lateral, fpn.inner_blocks, first)]
    copied += _pairs(decoder.smooth, fpn.layer_blocks, first)
    if any(old.weight.shape != new.weight.shape for old, new in copied):
        return False
    for old, new in copied:
        new.weight.copy_(old.weight)
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    return True


def _pairs(
    decoder: nn.ModuleList, blocks: nn.ModuleList, first: int
) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Yield a decoder's convolutions beside those of a pyramid that begins at stage `first`."""
    for old, block in zip(list(decoder)[first:], blocks, strict=True):
        assert isinstance(block, nn.Sequential)
        new = block[0]
        assert isinstance(old, nn.Conv2d)
        assert isinstance(new, nn.Conv2d)
        yield old, new


def norms(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return all batch normalisation in some modules."""
    kinds = nn.modules.batchnorm._BatchNorm
    return [each for module in modules for each in module.modules() if isinstance(each, kinds)]
