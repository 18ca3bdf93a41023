"""The encoder that a readout's settings name."""

import torch

from representation.encoder import Encoder, Stride
from representation.known_encoders import find_encoder
from representation.readout.settings import ReadoutSettings


def open_encoder(
    settings: ReadoutSettings, device: torch.device, stride: Stride | None = None
) -> Encoder:
    """Return it in evaluation mode, see `representation.known_encoders.find_encoder`.

    `stride` is of the backbone; None: as the settings say.
    """
    return find_encoder(
        settings.encoder,
        architecture=settings.architecture,
        stride=stride or settings.stride,
        seed=settings.seed,
        device=device,
    )
