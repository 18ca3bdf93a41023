"""Names to encoders: ours, random ones, published ones, a flow network's."""

import hashlib
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
import torch
import torchvision
from torch import Tensor

from representation import models
from representation.encoder import Decoder, Encoder, Stride
from representation.flow_encoder import PREFIX as FLOW
from representation.flow_encoder import FlowEncoder
from representation.settings import EncoderSettings
from representation.timm_encoder import PREFIX as TIMM
from representation.weights import fill, initialise, read_checkpoint
from selfflow.models import load_network
from selfflow.runs.config import read_toml
from selfflow.runs.errors import UserError
from selfflow.runs.store import SUFFIX, find_model, read_metadata, read_model, stored_models

# What a result says of how an encoder of ours was made; the seed tells its seeds from one another.
MADE = ("method", "target", "flow_model", "steps", "init", "seed")

RUN = "config.toml"  # marks the folder of a run
BUILT_IN = ("random", "imagenet", f"{TIMM}NAME", f"{FLOW}MODEL")


def find_encoder(
    name: str | Path,
    *,
    architecture: str | None = None,
    stride: Stride | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Encoder:
    """Return the encoder of that name, in evaluation mode.

    Args:
        name: a file (ours; or weights with torchvision's, timm's or MoCo's names), the folder of a
            pre-training run, a name in the model store, or a built-in: `random`, `imagenet` (the
            weights that torchvision publishes for a ResNet), `timm/NAME` (timm's), `flow/MODEL`
            (RAFT's feature encoder).
        architecture: of `random`, `imagenet` and files that don't say it; None: resnet50.
        stride: of the backbone; None: as it was trained, and 8 for `random`, `imagenet` and files
            that don't say it, 32 for timm's.
        seed: of `random`.
        device: where it goes.

    Raises:
        UserError: there is no such encoder, it can't be fetched, or it does not fit.
    """
    path = Path(name)
    if (path / RUN).is_file():
        encoder = _of_run(path, stride)
    elif (file := _file(name)) is not None:
        encoder = _of_file(file, architecture, stride)
    else:
        encoder = _built_in(str(name), architecture, stride, seed)
    return encoder.to(device).eval()


def fingerprint(encoder: Encoder) -> str:
    """Return 16 hexadecimal digits that tell an encoder's weights from others."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def description(name: str | Path, encoder: Encoder) -> dict[str, Any]:
    """Return what a result says of an encoder: name, form, weights, and how it was made."""
    made = _made(Path(name))
    known: dict[str, Any] = {key: made[key] for key in MADE if key in made}
    return {
        "name": str(name),
        "architecture": encoder.architecture,
        "stride": encoder.stride,
        "channels": encoder.channels,
        "decoder": "none" if encoder.decoder is None else "fpn",
        "weights": fingerprint(encoder),
        **known,
    }


def _made(path: Path) -> dict[str, Any]:
    """Return what is known of how an encoder was made."""
    if (path / RUN).is_file():
        config = read_toml(path / RUN)
        return {**config, "init": config.get("encoder", {}).get("init")}
    file = _file(path)
    return {} if file is None or file.suffix != SUFFIX else read_metadata(file)


def _file(name: str | Path) -> Path | None:
    try:
        return find_model(name, models.KIND)
    except UserError:
        return None


def _of_run(folder: Path, stride: Stride | None) -> Encoder:
    """Return the encoder of a pre-training run, also of one that is not done."""
    table = read_toml(folder / RUN).get("encoder")
    if not isinstance(table, dict) or not (folder / "checkpoint.pt").is_file():
        raise UserError(f"{folder} is not the folder of a pre-training run with a checkpoint")
    settings = EncoderSettings(**table)
    encoder = models.build(settings.architecture, stride or settings.stride, settings.decoder)
    initialise(encoder, str(folder))
    return encoder


def _of_file(file: Path, architecture: str | None, stride: Stride | None) -> Encoder:
    if file.suffix == SUFFIX:
        state, metadata = read_model(file)
        if metadata:
            return models.load(file, stride=stride)
    else:
        state = read_checkpoint(file)
    decoder: Decoder = "fpn" if any("decoder.lateral." in name for name in state) else "none"
    encoder = models.build(architecture or "resnet50", stride or 8, decoder)
    fill(encoder, state, str(file))
    return encoder


def _built_in(name: str, architecture: str | None, stride: Stride | None, seed: int) -> Encoder:
    if name == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return models.build(architecture or "resnet50", stride or 8)
    if name == "imagenet":
        chosen = architecture or "resnet50"
        state = _imagenet(chosen)
        encoder = models.build(chosen, stride or 8)
        fill(encoder, state, name)
        return encoder
    if name.startswith(TIMM):
        encoder = models.build(name, stride or 32)
        fill(encoder, _timm(name.removeprefix(TIMM)), name)
        return encoder
    if name.startswith(FLOW):
        if stride not in (None, 8):
            raise UserError(f"{name} has features of stride 8, not {stride}")
        model = name.removeprefix(FLOW)
        return FlowEncoder(load_network(model)[0], model)
    stored = [known for known, about in stored_models().items() if about.get("kind") == models.KIND]
    raise UserError(
        f"no encoder {name!r}: neither a file, the folder of a run, nor in the model store "
        f"({', '.join(stored) or 'none yet'}); built in are {', '.join(BUILT_IN)}"
    )


def _imagenet(architecture: str) -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of a ResNet, fetched if they are not there yet."""
    if architecture.startswith(TIMM):
        raise UserError(f"for ImageNet weights of {architecture} say --encoder {architecture}")
    published = torchvision.models.get_model_weights(architecture)["IMAGENET1K_V1"]
    try:
        state: dict[str, Tensor] = published.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(f"cannot fetch {published.url}: {error}") from error
    return state


def _timm(name: str) -> dict[str, Tensor]:
    """Return timm's weights of a network, fetched if they are not there yet."""
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever its hub's client may raise
        raise UserError(f"cannot fetch timm's weights of {name}: {error}") from error
    return state
