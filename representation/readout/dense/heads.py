"""What turns features into outputs for each pixel: classes, or a depth.

- linear: one 1x1 convolution. VADeR, CACL and FlowE (which calls it DeepLab v1's form).
- deeplabv3: torchvision's DeepLabV3 head, ASPP at rates 12, 24 and 36. FlowE's "heavier header".
- fcn16s: two 3x3 convolutions of 256 channels, dilated by 6, with normalisation and ReLU, and a 1x1
  convolution, at stride 16. MultiSiam refers to MoCo's settings for Cityscapes; these are recalled
  from the appendix of He et al. (CVPR 2020), which dilates the last stage as ours is at stride 16.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

Kind = Literal["linear", "deeplabv3", "fcn16s"]


class Heads(nn.Module):
    """Several heads of one kind on the same features, to be trained side by side.

    Each has weights of its own; one backward pass of the sum of their losses gives each the
    gradient that it would have alone.

    Args:
        kind: of head.
        channels: of the features.
        outputs: of each head.
        count: of heads.
        normalise: by batch normalisation without weights; the heads share its statistics.
    """

    def __init__(
        self, kind: Kind, channels: int, outputs: int, count: int = 1, *, normalise: bool = True
    ) -> None:
        super().__init__()
        self.kind, self.outputs = kind, outputs
        self.norm = nn.BatchNorm2d(channels, affine=False) if normalise else nn.Identity()
        self.heads = nn.ModuleList(_head(kind, channels, outputs) for _ in range(count))

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs `(B, heads, outputs, h, w)` of features `(B, channels, h, w)`."""
        features = self.norm(features)
        if self.kind == "linear":  # one convolution with the weights of all
            weight, bias = (
                torch.cat([getattr(head, name) for head in self.heads]) for name in _LINEAR
            )
            return F.conv2d(features, weight, bias).unflatten(1, (len(self.heads), self.outputs))
        return torch.stack([head(features) for head in self.heads], 1)


_LINEAR = ("weight", "bias")


def _head(kind: Kind, channels: int, outputs: int) -> nn.Module:
    if kind == "deeplabv3":
        return DeepLabHead(channels, outputs)
    if kind == "fcn16s":
        return nn.Sequential(
            *_dilated(channels, 256), *_dilated(256, 256), nn.Conv2d(256, outputs, 1)
        )
    linear = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(linear.weight, std=0.01)
    assert linear.bias is not None
    nn.init.zeros_(linear.bias)
    return linear


def _dilated(channels: int, width: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, 3, padding=6, dilation=6, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
