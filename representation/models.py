"""Encoders by name: written to the model store, read from it or from anyone's file."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from representation.encoder import Architecture, Encoder, Stride
from selfflow.runs.errors import UserError
from selfflow.runs.store import SUFFIX, find_model, read_model, save_model

KIND = "encoder"


def save(name: str | Path, encoder: Encoder, metadata: Mapping[str, Any]) -> Path:
    """Put an encoder into the model store, or at a path; return the file's path.

    Args:
        name: in the store, or a path.
        encoder: whose weights are written, under torchvision's names.
        metadata: how it was made; what it is (kind, architecture, stride) is added.
    """
    what = {"kind": KIND, "architecture": encoder.architecture, "stride": encoder.stride}
    return save_model(name, encoder.state_dict(), {**what, **metadata})


def load(
    name: str | Path, device: torch.device | str = "cpu", *, stride: Stride | None = None
) -> Encoder:
    """Return a stored encoder, in evaluation mode.

    It takes images `(B, 3, H, W)`, RGB in [0, 1], and returns features `(B, C, H/s, W/s)`; the
    normalisation by ImageNet's mean and standard deviation is its own.

    Args:
        name: a path, or a name in the model store.
        device: where it goes.
        stride: another output stride than the one it was trained with.

    Raises:
        UserError: there is no such model, or it is no encoder.
    """
    path = find_model(name, KIND)
    state, metadata = read_model(path)
    architecture = metadata.get("architecture")
    if metadata.get("kind") != KIND or architecture not in get_args(Architecture):
        raise UserError(f"{path} is no encoder but {metadata.get('kind', 'of an unknown kind')}")
    encoder = Encoder(cast(Architecture, architecture), stride or metadata["stride"])
    fill(encoder, state, str(path))
    return encoder.to(device).eval()


def initialise(encoder: Encoder, source: str) -> None:
    """Give an encoder its first weights.

    Args:
        encoder: changed in place.
        source: "random" (those that it has), a name in the model store, or a file of weights under
            torchvision's names: safetensors, or a checkpoint that holds tensors alone.

    Raises:
        UserError: there is no such model, or it does not fit.
    """
    if source == "random":
        return
    path = Path(source) if Path(source).is_file() else find_model(source, KIND)
    state = read_model(path)[0] if path.suffix == SUFFIX else _read_checkpoint(path)
    fill(encoder, state, str(path))


def fill(encoder: Encoder, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights under torchvision's names, strictly but for the classifier `fc`."""
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        problem = " ".join(str(error).split()[:24])
        raise UserError(f"{source} does not fit a {encoder.architecture}: {problem} ...") from error


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a checkpoint that can be read safely") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} is not a state dict: names and tensors, nothing else")
    return state
