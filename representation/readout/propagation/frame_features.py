"""Features of a sequence's frames, one vector for each cell."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder, cell_offset
from representation.readout.propagation.cells import Cells, Size
from selfflow.sequences import Sequence

Fit = Literal["short", "square"]


@dataclass(frozen=True)
class FrameFeatures:
    """Frames in, features out.

    Attributes:
        encoder: in evaluation mode, on its device.
        side: px, to which frames are resized; None leaves them as they are.
        fit: "short": the short side becomes `side`, the long one in proportion. "square": both.
        multiple: the long side is rounded down to one of it.
        antialias: when frames are made smaller.
        without_last_stage: read the stage before the last, of a backbone with several and without
            decoder.
        normalised: vectors have length 1.
        aligned: cells are where the encoder's are, see `representation.readout.propagation.cells`.
    """

    encoder: Encoder
    side: int | None
    fit: Fit
    multiple: int
    antialias: bool
    without_last_stage: bool
    normalised: bool
    aligned: bool

    @property
    def stage(self) -> int | None:
        """Which of the backbone's stages is read, from the end; None for the encoder's output."""
        encoder = self.encoder
        several = encoder.decoder is None and len(encoder.stage_channels) > 1
        return -2 if self.without_last_stage and several else None

    @property
    def channels(self) -> int:
        """Of the features."""
        return self.encoder.channels if self.stage is None else self.encoder.stage_channels[-2]

    @property
    def stride(self) -> int:
        """Pixels from one cell to the next."""
        return self.encoder.stride if self.stage is None else self.encoder.stage_strides[-2]

    def input_size(self, size: Size) -> Size:
        """Return the size at which the encoder sees frames of `size`."""
        if self.side is None:
            return size
        if self.fit == "square":
            return self.side, self.side
        short, long = min(size), max(size)
        scaled = max(long * self.side // short // self.multiple, 1) * self.multiple
        return (self.side, scaled) if size[0] <= size[1] else (scaled, self.side)

    def cells(self, size: Size) -> Cells:
        """Return where the features of frames of `size` lie."""
        height, width = self.input_size(size)
        stride = self.stride
        shape = -(-height // stride), -(-width // stride)
        if not self.aligned:
            return Cells.spread(shape, (height, width))
        offset = cell_offset(stride, self.encoder.alignment)
        return Cells.aligned(shape, (height, width), stride, offset)

    @torch.no_grad()
    def __call__(self, frames: Sequence, index: int) -> Tensor:
        """Return the features of a frame, `(h, w, C)`, on the encoder's device."""
        image = torch.from_numpy(frames.frame(index)).permute(2, 0, 1)[None]
        image = image.to(self.encoder.mean.device) / 255
        size = self.input_size((image.shape[2], image.shape[3]))
        if size != image.shape[2:]:
            image = F.interpolate(
                image, size, mode="bilinear", antialias=self.antialias, align_corners=False
            )
        features = self.encoder(image) if self.stage is None else self.encoder.stages(image)[-2]
        if self.normalised:
            features = F.normalize(features, dim=1)
        return features[0].permute(1, 2, 0).contiguous()
