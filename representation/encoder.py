"""Encoders: images to feature maps, and where in the image the features lie.

Images come in as everywhere here, RGB in [0, 1]; an encoder subtracts the mean and divides by the
standard deviation that its architecture is used to. These two are constants and no part of the
state dict. Other libraries' networks expect images that are already normalised: whoever takes
exported weights there normalises first.

Where features lie is written down here, once: cell i of a feature map of stride s is centred on
the pixel s · i + offset. In a ResNet the offset is 0; in a network that cuts the image into patches
it is (s - 1) / 2. There are ceil(size / s) cells. See `cell_positions` and `read_features`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from selfflow.flow import check_images, pixel_grid, sample

if TYPE_CHECKING:
    from representation.decoder import FPN

Stride = Literal[4, 8, 16, 32]
Decoder = Literal["none", "fpn"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module, ABC):
    """Images `(B, 3, H, W)` in [0, 1] to features `(B, channels, ceil(H/s), ceil(W/s))`.

    A subclass is a backbone; `representation.models.build` makes one by the architecture's name.

    Attributes:
        architecture: its name.
        backbone_stride: s of the backbone's last stage, which a decoder does not change.
        stage_channels: of the backbone's stages, from fine to coarse.
        stage_strides: likewise.
        alignment: 0 if cells are centred on pixel s · i, 1 if on the middle of s x s pixels.
        decoder: makes one map of all stages, or None; a part of the encoder that stays with it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        stage_channels: Sequence[int],
        stage_strides: Sequence[int],
        *,
        alignment: float = 0.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.stage_channels = tuple(stage_channels)
        self.stage_strides = tuple(stage_strides)
        self.backbone_stride = self.stage_strides[-1]
        self.alignment = alignment
        self.decoder: FPN | None = None
        for name, values in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.stage_channels[-1] if self.decoder is None else self.decoder.channels

    @property
    def stride(self) -> int:
        """Pixels from one feature cell to the next."""
        return self.backbone_stride if self.decoder is None else self.decoder.stride

    @property
    def offset(self) -> float:
        """The pixel that the first cell is centred on."""
        return cell_offset(self.stride, self.alignment)

    def positions(self, height: int, width: int) -> Tensor:
        """Return where the cells of images `height` x `width` lie in them, see `cell_positions`."""
        stride = self.stride
        cells = -(-height // stride), -(-width // stride)
        return cell_positions(*cells, stride, self.offset, device=self.mean.device)

    @property
    def backbone(self) -> list[nn.Module]:
        """Everything but the decoder, for an optimiser that treats the two differently."""
        return [child for name, child in self.named_children() if name != "decoder"]

    @abstractmethod
    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's stages, from fine to coarse, of normalised images."""

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's stages, from fine to coarse."""
        check_images(images)
        return self.backbone_stages((images - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Return the decoder's features, or the last stage's."""
        stages = self.stages(images)
        if self.decoder is None:
            return stages[-1]
        features: Tensor = self.decoder(stages, images.shape[-2:])
        return features


def cell_offset(stride: int, alignment: float) -> float:
    """Return the pixel that the first cell of a map of some stride is centred on."""
    return alignment * (stride - 1) / 2


def cell_positions(
    height: int,
    width: int,
    stride: int,
    offset: float = 0.0,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return where the cells of a `(height, width)` feature map lie in the image.

    Shape `(1, 2, height, width)`, x then y, in pixels: cell i is centred on `stride` · i +
    `offset`.
    """
    return pixel_grid(height, width, device=device) * stride + offset


def read_features(features: Tensor, positions: Tensor, stride: int, offset: float = 0.0) -> Tensor:
    """Read `features` `(B, C, h, w)` at image positions `(B, 2, H', W')` in pixels, bilinearly.

    Up to stride - 1 pixels of the image lie beyond the outermost cells' centres; there the nearest
    cell's value is read. At all pixels of the image this is upsampling, aligned with the cells'
    centres.
    """
    height, width = features.shape[-2:]
    limit = positions.new_tensor((width - 1, height - 1)).view(1, 2, 1, 1)
    cells = torch.minimum(((positions - offset) / stride).clamp_min(0), limit)
    return sample(features.to(cells.dtype), cells.expand(len(features), -1, -1, -1))
