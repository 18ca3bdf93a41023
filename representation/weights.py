"""First weights for an encoder: out of the model store, a run, or anyone's file."""

import pickle
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from representation.encoder import Encoder
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.store import SUFFIX, find_model, read_model

# What may lie beside a backbone's weights without belonging to it: classifiers, projectors.
HEADS = ("fc.", "head.", "classifier.", "norm.", "fc.norm.", "last.linear.", "decoder.")
# Slow averages, which are left alone where the network that they follow is there too.
FOLLOWERS = re.compile(r"encoder\.k|target|teacher|momentum|\bema\b")


def initialise(encoder: Encoder, source: str) -> None:
    """Give an encoder its first weights, and say what of them was left out.

    Args:
        encoder: changed in place.
        source: "random" (those that it has), a name in the model store, the folder of a run, or a
            file of weights: safetensors, or a checkpoint of tensors and plain values.

    Raises:
        UserError: there is no such model, or it does not fit.
    """
    if source == "random":
        return
    path = Path(source)
    if not path.is_file():
        checkpoint = path / "checkpoint.pt"
        path = checkpoint if checkpoint.is_file() else find_model(source, "encoder")
    state = read_model(path)[0] if path.suffix == SUFFIX else read_checkpoint(path)
    for line in fill(encoder, state, str(path)):
        console.print(f"{path}: {line}", soft_wrap=True)


def fill(encoder: Encoder, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Load weights, strictly but for heads and decoders; return what a person should know.

    Names are torchvision's or timm's, behind any prefix that all of them share, as in our own runs
    and in MoCo's checkpoints, of which the online network is taken. A decoder of which the weights
    say nothing keeps its random ones.

    Raises:
        UserError: naming `source`, for a tensor that is missing, too much, or of another shape.
    """
    own = encoder.state_dict()
    given = {_canonical(name): value for name, value in state.items()}
    wanted, prefix = _spelling(own, given)
    inside = {n.removeprefix(prefix): v for n, v in given.items() if n.startswith(prefix)}
    without_decoder = not any(name.startswith("decoder.") for name in inside)
    random = {n for n in wanted if n.startswith("decoder.")} if without_decoder else set()
    problem = _problem(own, {n: wanted[n] for n in wanted if n not in random}, inside)
    if problem:
        raise UserError(f"{source} does not fit a {encoder.architecture}: {problem}")
    taken = {name: inside[short] for short, name in wanted.items() if short in inside}
    encoder.load_state_dict({**own, **taken})
    left_out = Counter(
        _group(name, prefix)
        for name in state
        if not _canonical(name).startswith(prefix)
        or _canonical(name).removeprefix(prefix) not in wanted
    )
    lines = []
    if left_out:
        groups = ", ".join(f"{name} ({count})" for name, count in left_out.items())
        lines.append(f"left out, with their numbers of tensors: {groups}")
    if random:
        lines.append("the decoder starts random")
    return lines


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint under dotted names, its optimiser's left aside.

    Raises:
        UserError: it cannot be read without executing something, or holds no tensors by name.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a checkpoint that can be read safely") from error
    tensors = dict(_tensors(state, ""))
    if not tensors:
        raise UserError(f"{path} is not a state dict: it holds no tensors by name")
    return tensors


def _tensors(state: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield prefix, state
    elif isinstance(state, Mapping):
        for name, value in state.items():
            if isinstance(name, str) and not (prefix == "" and name in ("optimizer", "random")):
                yield from _tensors(value, f"{prefix}.{name}" if prefix else name)


def _canonical(name: str) -> str:
    """Return a name in which timm's networks with and without classifier agree."""
    return name.replace("_", ".")


def _spelling(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> tuple[dict[str, str], str]:
    """Return an encoder's names as they are given, to what they are here, and their prefix.

    Those under which most are found, ours or timm's; not a follower's if others are as good.
    """

    def quality(choice: tuple[dict[str, str], str]) -> tuple[int, bool, int]:
        names, prefix = choice
        count = sum(prefix + name in given for name in names)
        return count, FOLLOWERS.search(prefix) is None, -len(prefix)

    choices = []
    for wrapping in ("", r"network\.(model\.)?"):
        names = {re.sub(f"^{wrapping}", "", _canonical(name)): name for name in own}
        first = next(iter(names))
        ends = [name for name in given if name == first or name.endswith(f".{first}")]
        choices += [(names, name.removesuffix(first)) for name in ends] or [(names, "")]
    return max(choices, key=quality)


def _problem(
    own: Mapping[str, Tensor], wanted: Mapping[str, str], inside: Mapping[str, Tensor]
) -> str:
    """Return what is wrong with the weights found, or nothing."""
    for short, name in wanted.items():
        if short in inside and inside[short].shape != own[name].shape:
            return f"{name} is {tuple(inside[short].shape)}, not {tuple(own[name].shape)}"
        # Files of before 2018 do not count the batches of batch normalisation.
        if short not in inside and not name.endswith("num_batches_tracked"):
            return f"{name} is missing"
    for name in inside:
        if name not in wanted and not name.startswith(HEADS):
            return f"{name} is too much"
    return ""


def _group(name: str, prefix: str) -> str:
    """Return the part of a name that says what it belongs to: the first one not in the prefix."""
    start = 0
    for shared in prefix.split(".")[:-1]:
        if not _canonical(name[start:]).startswith(f"{shared}."):
            break
        start += len(shared) + 1
    # An underscore is a point in the prefix; a part starts after a real one.
    start = name.rfind(".", 0, start) + 1
    return name[start:].split(".")[0]
