"""Encoders by name: made, written to the model store, read from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from representation.decoder import FPN
from representation.encoder import Decoder, Encoder, Stride
from representation.resnet import Architecture, ResNet
from representation.settings import EncoderSettings
from representation.timm_encoder import PREFIX, TimmEncoder
from representation.weights import fill, initialise
from selfflow.runs.errors import UserError
from selfflow.runs.store import find_model, read_model, save_model

KIND = "encoder"


def build(architecture: str, stride: Stride, decoder: Decoder = "none") -> Encoder:
    """Return an encoder with random weights.

    Args:
        architecture: a ResNet of torchvision's, or `timm/NAME`.
        stride: of the backbone's last stage.
        decoder: "fpn" for one map of all stages at stride 4, see `representation.decoder`.

    Raises:
        UserError: timm has no such network, or none at this stride.
    """
    encoder: Encoder
    if architecture.startswith(PREFIX):
        encoder = TimmEncoder(architecture.removeprefix(PREFIX), stride)
    else:
        encoder = ResNet(cast(Architecture, architecture), stride)
    if decoder == "fpn":
        encoder.decoder = FPN(encoder.stage_channels, encoder.stage_strides, encoder.alignment)
    return encoder


def new_encoder(settings: EncoderSettings) -> Encoder:
    """Return the encoder that a run starts with, see `build` and `initialise`."""
    encoder = build(settings.architecture, settings.stride, settings.decoder)
    initialise(encoder, settings.init)
    return encoder


def save(name: str | Path, encoder: Encoder, metadata: Mapping[str, Any]) -> Path:
    """Put an encoder into the model store, or at a path; return the file's path.

    Args:
        name: in the store, or a path.
        encoder: whose weights are written, under torchvision's or timm's names; its decoder's
            behind "decoder.".
        metadata: how it was made; what it is (kind, architecture, stride, decoder) is added.
    """
    what = {
        "kind": KIND,
        "architecture": encoder.architecture,
        "stride": encoder.backbone_stride,
        "decoder": "none" if encoder.decoder is None else "fpn",
    }
    return save_model(name, encoder.state_dict(), {**what, **metadata})


def load(
    name: str | Path, device: torch.device | str = "cpu", *, stride: Stride | None = None
) -> Encoder:
    """Return a stored encoder, with its decoder if it has one, in evaluation mode.

    It takes images `(B, 3, H, W)`, RGB in [0, 1], and returns features `(B, C, H/s, W/s)`; the
    normalisation by the mean and standard deviation that it is used to is its own.

    Args:
        name: a path, or a name in the model store.
        device: where it goes.
        stride: of the backbone, another one than it was trained with.

    Raises:
        UserError: there is no such model, or it is no encoder.
    """
    path = find_model(name, KIND)
    state, metadata = read_model(path)
    if metadata.get("kind") != KIND:
        raise UserError(f"{path} is no encoder but {metadata.get('kind', 'of an unknown kind')}")
    encoder = build(
        metadata["architecture"], stride or metadata["stride"], metadata.get("decoder", "none")
    )
    fill(encoder, state, str(path))
    return encoder.to(device).eval()
