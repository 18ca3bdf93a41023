"""VADeR's decoder: a feature pyramid, merged into one fine feature map.

Pinheiro et al., "Unsupervised Learning of Dense Visual Representations", NeurIPS 2020, section 3.2:
the feature pyramid of Lin et al. (CVPR 2017) and the semantic branch of Kirillov et al., "Panoptic
Feature Pyramid Networks" (CVPR 2019).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from representation.encoder import cell_offset, cell_positions, read_features


class FPN(nn.Module):
    """All stages of a backbone to one map of `channels` at `stride` 4.

    Every stage becomes 256 channels wide, and takes up the next coarser one (top down); a 3x3
    convolution follows. Then each goes through blocks of 3x3 convolution, group normalisation, ReLU
    and upsampling by two, as many as lead to stride 4 (a stage that is there already: one block,
    not upsampled). Their sum goes through a 1x1 convolution.

    Upsampling is bilinear and keeps cells where they are in the image, see `read_features`, because
    this is a map whose places are compared. The papers' (nearest in the pyramid, then bilinear
    between pixel corners) moves a ResNet's cells by up to half of a coarse one.

    With ResNet-50 it has 5.0 million parameters; the paper speaks of about 2.

    Args:
        stage_channels: of the backbone, from fine to coarse.
        stage_strides: likewise.
        alignment: of the backbone's cells, see `Encoder`.
    """

    channels = 128
    stride = 4

    def __init__(
        self,
        stage_channels: Sequence[int],
        stage_strides: Sequence[int],
        alignment: float = 0.0,
        *,
        pyramid: int = 256,
    ) -> None:
        super().__init__()
        self.strides, self.alignment = tuple(stage_strides), alignment
        self.lateral = nn.ModuleList(nn.Conv2d(wide, pyramid, 1) for wide in stage_channels)
        self.smooth = nn.ModuleList(
            nn.Conv2d(pyramid, pyramid, 3, padding=1) for _ in stage_channels
        )
        self.merge = nn.ModuleList(
            nn.ModuleList(
                _block(pyramid if number == 0 else self.channels, self.channels)
                for number in range(max(1, (stride // self.stride).bit_length() - 1))
            )
            for stride in stage_strides
        )
        self.last = nn.Conv2d(self.channels, self.channels, 1)

    def forward(self, stages: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the map `(B, 128, ceil(H/4), ceil(W/4))`.

        Args:
            stages: of the backbone, from fine to coarse.
            size: (H, W) of the images.
        """
        levels: list[Tensor] = []
        for number in reversed(range(len(stages))):
            level = self.lateral[number](stages[number])
            if levels:
                stride = self.strides[number]
                level = level + self._resampled(levels[0], self.strides[number + 1], stride, size)
            levels.insert(0, level)
        merged = [self._merged(number, level, size) for number, level in enumerate(levels)]
        features: Tensor = self.last(sum(merged[1:], merged[0]))
        return features

    def _merged(self, number: int, level: Tensor, size: Sequence[int]) -> Tensor:
        """Return one level at the decoder's stride and width."""
        x, stride = self.smooth[number](level), self.strides[number]
        blocks = self.merge[number]
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            finer = max(stride // 2, self.stride)
            x = self._resampled(block(x), stride, finer, size)
            stride = finer
        merged: Tensor = x
        return merged

    def _resampled(self, features: Tensor, stride: int, new: int, size: Sequence[int]) -> Tensor:
        """Return features of one stride at the cells of another."""
        if stride == new:
            return features
        cells = -(-size[0] // new), -(-size[1] // new)
        places = cell_positions(
            *cells, new, cell_offset(new, self.alignment), device=features.device
        )
        places = places.to(torch.promote_types(features.dtype, places.dtype))
        return read_features(features, places, stride, cell_offset(stride, self.alignment))


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.GroupNorm(32, out),
        nn.ReLU(inplace=True),
    )
