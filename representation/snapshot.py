"""An encoder as it is at some moment of its training, to be looked at without disturbing it."""

from functools import cached_property
from typing import cast

import torch

from representation.encoder import Encoder, Stride
from representation.models import build
from representation.resnet import ResNet


class Snapshot:
    """A copy of an encoder that takes its weights when asked, and is always in evaluation mode.

    Normalisation in parts or over processes is plain here: in evaluation they are the same.

    Args:
        encoder: what is copied.
        stride: of the copy, where a ResNet without a decoder gives a choice, so that methods can be
            compared that train at different ones; others keep theirs.
    """

    def __init__(self, encoder: Encoder, stride: Stride | None = None) -> None:
        self.encoder, self.stride = encoder, stride

    @cached_property
    def _copy(self) -> Encoder:
        encoder, stride = self.encoder, self.stride
        if stride is None or not isinstance(encoder, ResNet) or encoder.decoder is not None:
            stride = cast(Stride, encoder.backbone_stride)
        with torch.random.fork_rng(devices=[]):  # the weights that it is made with are of no use
            copy = build(encoder.architecture, stride, "none" if encoder.decoder is None else "fpn")
        return copy.eval().requires_grad_(False).to(encoder.mean.device)

    def __call__(self) -> Encoder:
        """Return the copy with the encoder's weights of now."""
        self._copy.load_state_dict(self.encoder.state_dict())
        return self._copy
