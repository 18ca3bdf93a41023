"""The encoder: a ResNet without pooling and classifier, at an output stride of choice.

Weights carry torchvision's names, so that a state dict moves between the two as it is. Images come
in as everywhere here, RGB in [0, 1]; the encoder subtracts ImageNet's mean and divides by its
standard deviation itself. These two are constants and no part of the state dict. torchvision's own
ResNets expect images that are already normalised: whoever takes exported weights there normalises
first.

Where features lie is written down here, once: torchvision's ResNet pads every layer of stride 2
(7x7 by 3, 3x3 by 1, 1x1 by 0) so that its output cell i is centred on input cell 2 i. Cell i of the
feature map is therefore centred on the pixel `stride` · i exactly, and there are ceil(size /
stride) cells. See `cell_positions` and `read_features`.
"""

from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor, nn

from selfflow.flow import check_images, pixel_grid, sample

Architecture = Literal["resnet18", "resnet34", "resnet50"]
Stride = Literal[4, 8, 16, 32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A dilated ResNet, images `(B, 3, H, W)` in [0, 1] to features `(B, channels, H/s, W/s)`.

    Sizes round up. Stages whose stride is taken away are dilated instead, as in FlowE (section
    3.3) and DeepLab: every `stride_removed`-th cell of the dense features equals the features of
    the ResNet with its strides, so weights mean the same at any output stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture = "resnet50", stride: Stride = 8) -> None:
        super().__init__()
        if architecture not in get_args(Architecture):
            raise ValueError(f"architecture must be in {get_args(Architecture)}: {architecture!r}")
        if stride not in get_args(Stride):
            raise ValueError(f"stride must be in {get_args(Stride)}, got {stride}")
        resnet = getattr(torchvision.models, architecture)(weights=None)
        self.architecture = architecture
        self.stride = stride
        self.channels: int = resnet.fc.in_features
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        dilation = 1
        for layer, layer_stride in ((self.layer2, 8), (self.layer3, 16), (self.layer4, 32)):
            if layer_stride > stride:
                replace_stride_with_dilation(layer, dilation)
                dilation *= 2
        constants = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the four residual stages, from fine to coarse."""
        check_images(images)
        x = (images - self.mean) / self.std
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outputs.append(x)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of the last stage, `(B, channels, ceil(H/s), ceil(W/s))`."""
        return self.stages(images)[-1]


def replace_stride_with_dilation(layer: nn.Module, dilation: int) -> None:
    """Take the stride 2 out of a residual stage whose input is already dilated by `dilation`.

    Convolutions up to the one that had the stride keep the incoming dilation, those after it are
    dilated twice as much. For bottlenecks this is what torchvision builds; its basic blocks
    (ResNet-18, 34) have no dilation, hence this function.
    """
    current = dilation
    for name, module in layer.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        strided = module.stride == (2, 2)
        module.stride = (1, 1)
        if module.kernel_size == (3, 3):
            module.dilation = module.padding = (current, current)
        if strided and "downsample" not in name:
            current = 2 * dilation


def cell_positions(
    height: int, width: int, stride: int, *, device: torch.device | str | None = None
) -> Tensor:
    """Return where the cells of a `(height, width)` feature map lie in the image.

    Shape `(1, 2, height, width)`, x then y, in pixels: cell i is centred on pixel `stride` · i.
    """
    return pixel_grid(height, width, device=device) * stride


def read_features(features: Tensor, positions: Tensor, stride: int) -> Tensor:
    """Read `features` `(B, C, h, w)` at image positions `(B, 2, H', W')` in pixels, bilinearly.

    Up to stride - 1 pixels of the image lie beyond the last cell's centre; there the last cell's
    value is read. At all pixels of the image this is upsampling, aligned with the cells' centres.
    """
    height, width = features.shape[-2:]
    limit = positions.new_tensor((width - 1, height - 1)).view(1, 2, 1, 1)
    cells = torch.minimum((positions / stride).clamp_min(0), limit)
    return sample(features.to(cells.dtype), cells.expand(len(features), -1, -1, -1))
