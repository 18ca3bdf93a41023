"""Encoders for other libraries: weights under the names that each of them gives its own networks.

Images have to be normalised there by the mean and standard deviation that the result names;
`Encoder` does so itself. Weights do not depend on the output stride: outputs at a stride below 32
need the same dilations there.

A decoder is no part of what these libraries know. It stays with the encoder in a file of its own
beside the other: the state dict of `representation.decoder.FPN`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from representation.encoder import Encoder
from representation.known_encoders import find_encoder
from representation.resnet import Architecture, ResNet
from representation.timm_encoder import PREFIX, TimmEncoder
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

Library = Literal["torchvision", "timm", "detectron2"]
SUFFIXES = (".safetensors", ".pth", ".pt")
NETWORK = "network."  # before the names of timm's weights in a `TimmEncoder`
DECODER = "decoder."


def export(
    name: str | Path, library: Library, out: Path, *, architecture: str | None = None
) -> dict[str, Any]:
    """Write an encoder's weights so that another library loads them, strictly.

    - torchvision: `resnet50()` and the like with `fc` taken away.
    - timm: `create_model("resnet50", num_classes=0)`; any other network of timm's is written for
      `create_model(NAME, features_only=True)`.
    - detectron2: its ResNet, in a `.pth` file, which its checkpointer reads as it is, without a
      pickle of arrays: `MODEL.WEIGHTS: "FILE.pth?matching_heuristics=True"` finds the backbone of
      any detector. Tried once outside the tests, with its own ResNet from the public source of June
      2026: at depths 18, 34, 50 and 101 it is loaded strictly, and res2 to res5 agree to 2e-6.

    Args:
        name: of the encoder, see `representation.known_encoders.find_encoder`.
        library: whose names.
        out: the file: `.safetensors`, `.pth` or `.pt`; for detectron2 `.pth`.
        architecture: of an encoder whose file does not tell.

    Returns:
        What was written, and what one has to set there.

    Raises:
        UserError: the library has no such network, or the file cannot be written.
    """
    suffixes = (".pth",) if library == "detectron2" else SUFFIXES
    if out.suffix not in suffixes:
        raise UserError(f"{out}: the file must end in {' or '.join(suffixes)}")
    encoder = find_encoder(name, architecture=architecture)
    state, facts = LIBRARIES[library](encoder)
    written = {"file": str(out), "architecture": encoder.architecture, "tensors": len(state)}
    mean, std = (each.flatten().tolist() for each in (encoder.mean, encoder.std))
    facts = {**written, "mean": _rounded(mean), "std": _rounded(std), **facts}
    _write(out, state)
    if encoder.decoder is not None:
        beside = out.with_name(f"{out.stem}.decoder{out.suffix}")
        _write(beside, encoder.decoder.state_dict())
        facts["decoder"] = str(beside)
    return facts


Exported = tuple[dict[str, Tensor], dict[str, Any]]  # weights, and what there is to be said


def _for_torchvision(encoder: Encoder) -> Exported:
    return _resnet_state(encoder, "torchvision"), {
        "replace_stride_with_dilation": [encoder.backbone_stride < each for each in (8, 16, 32)]
    }


def _for_timm(encoder: Encoder) -> Exported:
    if isinstance(encoder, ResNet):
        return _backbone(encoder), {"create_model": f"{encoder.architecture}, num_classes=0"}
    if not isinstance(encoder, TimmEncoder):
        raise _refused(encoder, "timm")
    state = {k.removeprefix(NETWORK): v for k, v in _backbone(encoder).items()}
    name = encoder.architecture.removeprefix(PREFIX)
    return state, {"create_model": f"{name}, features_only=True"}


def _for_detectron2(encoder: Encoder) -> Exported:
    state = {
        detectron2_name(name): value for name, value in _resnet_state(encoder, "detectron2").items()
    }
    mean, std = (255 * each.flatten() for each in (encoder.mean, encoder.std))
    settings = {
        "MODEL.RESNETS.DEPTH": int(_resnet_name(encoder).removeprefix("resnet")),
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.PIXEL_MEAN": _rounded(mean.tolist()),
        "MODEL.PIXEL_STD": _rounded(std.tolist()),
        "INPUT.FORMAT": "RGB",
    }
    return state, {"settings": settings}


LIBRARIES: Mapping[str, Callable[[Encoder], Exported]] = {
    "torchvision": _for_torchvision,
    "timm": _for_timm,
    "detectron2": _for_detectron2,
}


def detectron2_name(name: str) -> str:
    """Return what detectron2 calls a weight of a ResNet that torchvision calls `name`."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def _resnet_name(encoder: Encoder) -> str:
    return encoder.architecture.removeprefix(PREFIX)


def _resnet_state(encoder: Encoder, library: str) -> dict[str, Tensor]:
    """Return a ResNet's weights under torchvision's names; UserError for anything else."""
    ours = isinstance(encoder, ResNet | TimmEncoder)
    if not ours or _resnet_name(encoder) not in get_args(Architecture):
        raise _refused(encoder, library)
    return {name.removeprefix(NETWORK): value for name, value in _backbone(encoder).items()}


def _backbone(encoder: Encoder) -> dict[str, Tensor]:
    state = encoder.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(DECODER)}


def _refused(encoder: Encoder, library: str) -> UserError:
    known = ", ".join(get_args(Architecture)) + (" and timm's own" if library == "timm" else "")
    return UserError(
        f"{library} has no network like {encoder.architecture}; what can be written for it are "
        f"{known}"
    )


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _write(path: Path, state: Mapping[str, Tensor]) -> None:
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(plain, temporary)
        else:
            torch.save(plain, temporary)
