"""Names to flow models: a path, a run, a name in the store, or one that is built in."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from selfflow.checkpoints import architecture_of, read_checkpoint
from selfflow.classical import Dis, Farneback, Zero
from selfflow.raft import ARCHITECTURES, RAFT
from selfflow.runs.errors import UserError
from selfflow.runs.store import (
    SUFFIX,
    find_model,
    read_model,
    save_model,
    store,
    stored_models,
)


class FlowModel(Protocol):
    """What maps two images `(B, 3, H, W)` in [0, 1] to flow `(B, 2, H, W)` in pixels."""

    def __call__(self, image1: Tensor, image2: Tensor, iterations: int = 12) -> Tensor:
        """Return the flow from `image1` to `image2`."""

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow."""


CLASSICAL: dict[str, type[Zero] | type[Dis] | type[Farneback]] = {
    "zero": Zero,
    "dis": Dis,
    "farneback": Farneback,
}


NETWORK = f"network{SUFFIX}"  # in the folder of a run that made one

# torchvision's weights of RAFT, its default first. Named here because to ask it takes as long as to
# import torch, and an unknown name is answered with all that are known.
TORCHVISION = {
    "raft_small": ("C_T_V2", "C_T_V1"),
    "raft_large": (
        "C_T_SKHT_V2",
        "C_T_V1",
        "C_T_V2",
        "C_T_SKHT_V1",
        "C_T_SKHT_K_V1",
        "C_T_SKHT_K_V2",
    ),
}

# What is taken where no model is named: the first of these that is stored or shipped.
DEFAULT_MODELS = ("s-af-small", "default-small")


def default_model() -> str:
    """Return the name of the model that is taken where none is named; UserError without one."""
    for name in DEFAULT_MODELS:
        if _file(name) is not None:
            return name
    raise UserError(f"no model is named, and there is none of {', '.join(DEFAULT_MODELS)}")


def load(name: str | Path | None = None, device: torch.device | str = "cpu") -> FlowModel:
    """Return the flow model of that name, ready to use.

        model = selfflow.load("s-af-small", "cuda")
        flow = model(image1, image2)  # pixels, x then y, from image1 to image2
        forward, backward = model.bidirectional(image1, image2)

    Images are tensors `(B, 3, H, W)`, RGB, floating point in [0, 1], of any size, on the model's
    device; flow is `(B, 2, H, W)`. A frame `(H, W, 3)` of bytes is made one by
    `torch.from_numpy(frame).permute(2, 0, 1)[None] / 255`. Networks are in evaluation mode and
    their weights fixed, so that no graph is built; `load_network` gives one to train.

    Args:
        name: a path (ours, or a `.pth` of princeton-vl's or torchvision's RAFT), a name in the
            store, one that is built in (`selfflow models` lists them), or the folder of a run, in
            this order; None takes `default_model()`.
        device: where a network goes.

    Raises:
        UserError: there is no such model, or its file cannot be used.
    """
    if name is None:
        name = default_model()
    if str(name) in CLASSICAL and _file(name) is None:
        return CLASSICAL[str(name)]()
    return load_network(name)[0].to(device).eval().requires_grad_(False)


def load_network(name: str | Path) -> tuple[RAFT, dict[str, Any]]:
    """Return a network, on the CPU and in training mode, and its metadata."""
    path = _file(name)
    if path is None and Path(name).is_dir():
        path = _network_of_run(Path(name))
    if path is None:
        published = _torchvision_weights().get(str(name))
        if published is None:
            raise _unknown(name)
        state, metadata = _download(str(name), *published), _torchvision_metadata(*published)
    elif path.suffix == SUFFIX:
        state, metadata = read_model(path)
    else:
        state, metadata = read_checkpoint(path), {"kind": "flow"}
    if metadata.get("kind", "flow") != "flow":
        raise UserError(f"{name} is no flow model but of kind {metadata['kind']!r}")
    metadata.setdefault("architecture", architecture_of(state))
    if metadata["architecture"] not in ARCHITECTURES:
        raise UserError(f"{name} has an unknown architecture {metadata['architecture']!r}")
    network = RAFT(metadata["architecture"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{name} does not fit {metadata['architecture']}: {reason}") from error
    return network, metadata


def load_average(names: Sequence[str | Path]) -> tuple[RAFT, dict[str, Any]]:
    """Return a network whose weights are the mean of several networks', and the first's metadata.

    Meant for networks of one training at different times, which such a mean often betters
    (Izmailov et al., UAI 2018). UserError where their architectures differ.
    """
    network, metadata = load_network(names[0])
    others = [load_network(name)[0] for name in names[1:]]
    if unlike := [
        name
        for name, other in zip(names[1:], others, strict=True)
        if other.architecture != network.architecture
    ]:
        raise UserError(f"{unlike[0]} has another architecture than {names[0]}")
    states = [each.state_dict() for each in (network, *others)]
    network.load_state_dict(
        {key: torch.stack([state[key].double() for state in states]).mean(0) for key in states[0]}
    )
    return network, metadata


def save(name: str | Path, network: RAFT, metadata: Mapping[str, Any]) -> Path:
    """Write `network` under a name in the store, or to a path; return the file's path."""
    own = {"kind": "flow", "architecture": network.architecture}
    return save_model(name, network.state_dict(), {**metadata, **own})


def save_half(path: Path, network: RAFT, metadata: Mapping[str, Any]) -> Path:
    """Write `network` in half precision to a `.safetensors` file, as models are shipped.

    Read again, its weights are single precision, rounded: flow moves by some hundredths of a pixel.

    Raises:
        UserError: the path is not that of a `.safetensors` file.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: weights are written to a {SUFFIX} file")
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    own = {"kind": "flow", "architecture": network.architecture}
    return save_model(path, state, {**metadata, **own})


def known_models() -> dict[str, dict[str, Any]]:
    """Return the metadata of every flow model that has a name, the store's first."""
    stored = {
        name: metadata
        for name, metadata in stored_models().items()
        if metadata.get("kind", "flow") == "flow"
    }
    classical = {
        name: {"kind": "flow", "architecture": name, "made_by": "built in"} for name in CLASSICAL
    }
    published = {
        name: _torchvision_metadata(*weights) for name, weights in _torchvision_weights().items()
    }
    return {**stored, **published, **classical, **stored}


def _file(name: str | Path) -> Path | None:
    """Return the file of a model that has one: a path, in the store, or shipped."""
    try:
        return find_model(name)
    except UserError:
        return None


def _network_of_run(folder: Path) -> Path:
    """Return the file of the network that a run made: what it keeps, stored, or last wrote.

    A search keeps its network in the training that ends it; a run that is not done has a
    checkpoint.
    """
    for place in (folder, folder / "train"):
        kept = place / NETWORK
        if kept.is_file():
            return kept
        stored = _result(place / "results.json").get("model")
        if isinstance(stored, str) and (found := _file(stored)) is not None:
            return found
        if (place / "checkpoint.pt").is_file():
            return place / "checkpoint.pt"
    raise UserError(
        f"{folder} is a folder without a network: no {NETWORK}, no checkpoint.pt, and no "
        "results.json that names a stored model"
    )


def _result(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _unknown(name: str | Path) -> UserError:
    if str(name) in CLASSICAL:
        return UserError(f"{name} is no network: it has no weights")
    known = ", ".join(known_models())
    return UserError(f"no model {str(name)!r}: neither a file nor in {store()}; known: {known}")


def _torchvision_weights() -> dict[str, tuple[str, str]]:
    """Return model and weights by name, `torchvision:raft_small` being its default."""
    named = {}
    for model, weights in TORCHVISION.items():
        named[f"torchvision:{model}"] = (model, weights[0])
        named |= {f"torchvision:{model}:{each}": (model, each) for each in weights}
    return named


def _torchvision_metadata(model: str, weights: str) -> dict[str, Any]:
    return {
        "kind": "flow",
        "architecture": model.replace("_", "-"),
        "made_by": f"torchvision, {weights}",
    }


def _download(name: str, model: str, weights: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights  # takes long to import, and few need it

    published = get_model_weights(model)[weights]
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        state: dict[str, Tensor] = published.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"the weights of {name} could not be fetched ({error}); put {published.url} at {place}"
        ) from error
    return state
