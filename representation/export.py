"""Encoders for other libraries."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from representation.models import load
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write


def export_torchvision(name: str | Path, out: Path) -> dict[str, Any]:
    """Write an encoder's weights so that torchvision's ResNet of its architecture loads them.

    `torchvision.models.resnet18` or `resnet50` `.load_state_dict(..., strict=False)` then misses
    `fc.weight` and `fc.bias` alone. Outputs agree for images normalised by ImageNet's mean and
    standard deviation (torchvision leaves that to the caller, `Encoder` does it itself), and, with
    an output stride below 32, for `replace_stride_with_dilation`. Weights do not depend on it.

    Args:
        name: the encoder, a path or a name in the model store.
        out: `.safetensors`, `.pth` or `.pt`.

    Returns:
        What was written: file, architecture, replace_stride_with_dilation, tensors.
    """
    if out.suffix not in (".safetensors", ".pth", ".pt"):
        raise UserError(f"{out}: the file must end in .safetensors, .pth or .pt")
    encoder = load(name)
    state, dilated = encoder.state_dict(), [encoder.backbone_stride < each for each in (8, 16, 32)]
    with atomic_write(out) as temporary:
        if out.suffix == ".safetensors":
            save_file(state, temporary)
        else:
            torch.save(state, temporary)
    return {
        "file": str(out),
        "architecture": encoder.architecture,
        "replace_stride_with_dilation": dilated,
        "tensors": len(state),
    }
