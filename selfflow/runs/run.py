"""A run folder: what was asked for, what it ran on, checkpoints, events and results."""

import json
import math
import os
import pickle
import shutil
import uuid
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from selfflow.runs.config import Config, to_toml
from selfflow.runs.continuing import check_settings
from selfflow.runs.distributed import from_first, rank
from selfflow.runs.environment import environment, now
from selfflow.runs.errors import UserError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# These say how far a run goes, where and how it is watched, not what it computes. A checkpoint
# knows how many batches a step takes, of all processes: fewer processes may accumulate more.
MAY_DIFFER = frozenset(
    {
        "steps",
        "budget",
        "device",
        "accumulate",
        "log_every",
        "pictures_every",
        "save_every",
        "prefetch",
        "trials",
        "workers",
    }
)
_RECORD = "environment.json"


def home() -> Path:
    """Return where runs and models lie: $SELFFLOW_HOME, or `runs` in the current folder."""
    return Path(os.environ.get("SELFFLOW_HOME") or "runs")


def default_run_path(kind: str, name: str) -> Path:
    """Return the folder of a run that was given none: home/kind/name."""
    return home() / kind / name


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes `path`'s place if the block succeeds.

    Folders on the way are made. If the block fails, nothing is left behind. Raises UserError
    where `path` cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif temporary.exists():
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return a JSON file's content; UserError names a file that cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def read_table(path: Path) -> dict[str, Any]:
    """Return a JSON file's content where it is to be an object; else UserError."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return content


def to_json(obj: Any) -> str:
    """Return `obj` as JSON for people and programs; what is not a finite number becomes null."""
    return json.dumps(_plain(obj), indent=2, ensure_ascii=False)


class Run:
    """An open run folder. Of several processes, the first one writes into it, the others don't.

    Attributes:
        path: the folder.
        checkpoint: the file that training continues from.
        events: whether a training writes events; without, it leaves no more than a checkpoint.
        first_step: where this session starts; events that an earlier session logged from there
            on are replaced.
    """

    def __init__(self, path: Path, *, events: bool = True) -> None:
        self.path = path
        self.events = events
        self.checkpoint = path / "checkpoint.pt"
        self.first_step = 0

    @classmethod
    def open(
        cls,
        path: Path,
        kind: str,
        config: Config,
        *,
        may_differ: Set[str] = MAY_DIFFER,
        prefix: str = "",
    ) -> "Run":
        """Create a run folder, or continue one that was made for the same configuration.

        Args:
            path: the folder.
            kind: "search", "train", "pretrain", ...
            config: resolved; its `seed`, if it has one, is recorded with the environment.
            may_differ: last parts of the keys in which a continued run may differ, or their first.
            prefix: what the command's `--set` wants before a key.

        Raises:
            UserError: if the folder is something else, holds a run of another kind or with
                another configuration, or cannot be written.
        """
        from_first(partial(_prepare, path, kind, config, may_differ, prefix))
        return cls(path)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file into the folder, whole or not at all."""
        if rank() == 0:
            write_text(self.path / name, text)

    def write_json(self, name: str, obj: Any) -> None:
        """Write a JSON file into the folder, whole or not at all."""
        self.write_text(name, to_json(obj) + "\n")

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; the old one stays until the new one is complete."""
        if rank() != 0:
            return
        with atomic_write(self.checkpoint) as temporary:
            torch.save(dict(state), temporary)

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to continue from."""
        return self.checkpoint.exists()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint, on the CPU, or None where there is none yet."""
        if not self.has_checkpoint():
            return None
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{self.checkpoint} is not a readable checkpoint; remove it to start anew"
            ) from error
        assert isinstance(state, dict)
        return state

    @cached_property
    def writer(self) -> "SummaryWriter":
        """TensorBoard events, under `events/`; opened when first asked for."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        return SummaryWriter(str(self.path / "events"), purge_step=self.first_step or None)

    def close(self) -> None:
        """Write out what is still pending."""
        if "writer" in self.__dict__:
            self.writer.close()
            del self.__dict__["writer"]

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_run(
    path: Path,
    kind: str,
    config: Config,
    may_differ: Set[str] = MAY_DIFFER,
    prefix: str = "",
) -> None:
    """Raise the UserError that `Run.open` would raise for this folder; write nothing."""
    if not (path / _RECORD).exists():
        _check_free(path)
        return
    known = read_table(path / _RECORD).get("kind")
    if known != kind:
        raise UserError(f"{path} holds a {known} run, not a {kind} run; choose another --out")
    check_settings(path, config, may_differ, prefix)


def _prepare(path: Path, kind: str, config: Config, may_differ: Set[str], prefix: str) -> None:
    """Check and describe a run folder; errors as `Run.open`'s."""
    check_run(path, kind, config, may_differ, prefix)
    if (path / _RECORD).exists():
        for left in path.glob(".*-checkpoint.pt"):  # of a session killed while it wrote
            left.unlink()
        record = read_table(path / _RECORD)
        record["continued"] = [*record.get("continued", []), now()]
    else:
        record = environment(kind, getattr(config, "seed", None))
    write_text(path / "config.toml", to_toml(config))
    write_text(path / _RECORD, to_json(record))


def _check_free(path: Path) -> None:
    try:
        found = [each.name for each in path.iterdir()] if path.exists() else []
        # A run that was killed while it was being made has left no more than config.toml; another
        # process may just be making one.
        made = _RECORD in found
        if not made and any(name != "config.toml" and name[0] != "." for name in found):
            raise UserError(f"{path} is neither empty nor a run; choose another --out")
    except OSError as error:
        raise UserError(f"cannot use {path}: {error.strerror}") from error


def _plain(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(value) for value in obj]
    if hasattr(obj, "tolist"):  # tensors and arrays
        return _plain(obj.tolist())
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj if isinstance(obj, str | int | float | bool) or obj is None else str(obj)
