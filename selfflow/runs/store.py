"""The model store: weights with a description, under names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfflow.runs.distributed import rank
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write, home

SUFFIX = ".safetensors"
_SHIPPED = Path(__file__).parent.parent / "weights"


def store() -> Path:
    """Return the folder of models that have a name."""
    return home() / "models"


def model_path(name: str | Path) -> Path:
    """Return where a model is written: a path as it is, a bare name in the store."""
    path = Path(name)
    if path.suffix == SUFFIX or len(path.parts) > 1:
        return path.with_name(path.name.removesuffix(SUFFIX) + SUFFIX)
    return store() / f"{name}{SUFFIX}"


def save_model(
    name: str | Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> Path:
    """Write weights and their description (anything JSON can say); return the file's path.

    Of several processes, the first one writes.
    """
    path = model_path(name)
    if rank() != 0:
        return path
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state_dict.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"selfflow": json.dumps(dict(metadata))})
    return path


def read_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights, on the CPU, and description of a safetensors file."""
    try:
        with safe_open(str(path), "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, _description(file)  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable model: {error}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the description of a safetensors file without reading its weights."""
    try:
        with safe_open(str(path), "pt") as file:
            return _description(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable model: {error}") from error


def find_model(name: str | Path, kind: str | None = None) -> Path:
    """Return the file of a model: a path, else a name in the store, else one that is shipped.

    UserError where there is none, with the names of models of that kind: "flow", "encoder" or any.
    """
    shipped = _SHIPPED / f"{name}{SUFFIX}"
    for path in (Path(name), model_path(name), shipped):
        if path.is_file():
            return path
    found = stored_models().items()
    alike = (known for known, about in found if kind in (None, about.get("kind", "flow")))
    known = ", ".join(alike) or "none yet"
    raise UserError(f"no model {str(name)!r}: neither a file nor a name in {store()} ({known})")


def target_of(name: str | Path) -> str:
    """Return the target that a model was made for; UserError if it is not known."""
    try:
        target = read_metadata(find_model(name)).get("target")
    except UserError:
        target = None  # built in, or of someone else's making
    if not target:
        raise UserError(f"--target is needed: {name} was not made for one")
    return str(target)


def stored_models() -> dict[str, dict[str, Any]]:
    """Return the description of every named model, those in the store before those shipped.

    A file that cannot be read is described by its `problem`.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in (store(), _SHIPPED):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path.name.startswith(".") or path.stem in found:
                continue
            try:
                found[path.stem] = read_metadata(path)
            except UserError as error:
                found[path.stem] = {"problem": str(error)}
    return found


def _description(file: Any) -> dict[str, Any]:
    description = json.loads((file.metadata() or {}).get("selfflow", "{}"))
    return description if isinstance(description, dict) else {}
