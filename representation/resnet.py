"""torchvision's ResNets as encoders, at an output stride of choice.

Weights carry torchvision's names, so that a state dict moves between the two as it is.

torchvision's ResNet pads every layer of stride 2 (7x7 by 3, 3x3 by 1, 1x1 by 0) so that its output
cell i is centred on input cell 2 i. Cell i of the features is therefore centred on the pixel
`stride` · i exactly.
"""

from typing import Literal, get_args

import torchvision
from torch import Tensor, nn

from representation.encoder import Encoder, Stride

Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101"]


class ResNet(Encoder):
    """A dilated ResNet without pooling and classifier.

    Stages whose stride is taken away are dilated instead, as in FlowE (section 3.3) and DeepLab:
    every `stride_removed`-th cell of the dense features equals the features of the ResNet with its
    strides, so weights mean the same at any output stride.
    """

    def __init__(self, architecture: Architecture = "resnet50", stride: Stride = 8) -> None:
        if architecture not in get_args(Architecture):
            raise ValueError(f"architecture must be in {get_args(Architecture)}: {architecture!r}")
        if stride not in get_args(Stride):
            raise ValueError(f"stride must be in {get_args(Stride)}, got {stride}")
        resnet = getattr(torchvision.models, architecture)(weights=None)
        last = resnet.fc.in_features
        super().__init__(
            architecture,
            [last // 8, last // 4, last // 2, last],
            [min(stage, stride) for stage in (4, 8, 16, 32)],
        )
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        dilation = 1
        for layer, layer_stride in ((self.layer2, 8), (self.layer3, 16), (self.layer4, 32)):
            if layer_stride > stride:
                replace_stride_with_dilation(layer, dilation)
                dilation *= 2

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the four residual stages, from fine to coarse."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outputs.append(x)
        return outputs


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
