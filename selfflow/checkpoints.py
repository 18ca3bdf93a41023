"""RAFT weights in other people's files: princeton-vl's names and torchvision's."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selfflow.runs.errors import UserError

# princeton-vl's name to torchvision's; each name passes through all of them, in this order.
_RENAMINGS = [
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
]


def is_princeton(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of princeton-vl/RAFT."""
    return any(name.removeprefix("module.").startswith("fnet.") for name in state)


def from_princeton(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of princeton-vl/RAFT to torchvision's names.

    A block's norm that has no convolution of its number is the shortcut's: it is in the file a
    second time as `downsample.1`, and left out here.
    """
    renamed = {}
    for old, value in state.items():
        new = old
        for pattern, replacement in _RENAMINGS:
            new = re.sub(pattern, replacement, new)
        block = re.fullmatch(r"(.*layer\d\.\d)\.norm(\d)\.\w+", old)
        if block is None or f"{block[1]}.conv{block[2]}.weight" in state:
            renamed[new] = value
    return renamed


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """Return the architecture that weights with torchvision's names belong to."""
    if "mask_predictor.conv.weight" not in state:
        return "raft-small"
    batch = "context_encoder.convnormrelu.1.weight" in state
    return "raft-large" if batch else "raft-large-instance"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights in a `.pth` file, with torchvision's names; executes nothing in it.

    Reads torchvision's and princeton-vl's files, ptlflow's, which hold the latter's names under
    `state_dict`, and the checkpoints of our own runs. Raises UserError where the file holds no
    weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no checkpoint the reader raises anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable checkpoint: {reason}") from error
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if isinstance(content, dict) and isinstance(content.get("modules"), dict):
        content = content["modules"].get("network")
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} holds no weights of a network")
    return from_princeton(content) if is_princeton(content) else content
