"""Whether a run is continued with the settings it was started with; what to say if it is not."""

import shlex
import tomllib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from selfflow.runs.config import Config, flatten, load, option, read_toml, to_toml
from selfflow.runs.errors import UserError


def check_settings(path: Path, config: Config, may_differ: Set[str], prefix: str = "") -> None:
    """Raise UserError if settings differ from those that a run was started with.

    Not only the user may have changed them: defaults may have, with the code. So the error names
    the options with which the same command continues the run.

    Args:
        path: the run's folder, in which `config.toml` has the settings it was started with.
        config: the settings now.
        may_differ: last parts of the keys that may differ, or their first: whole groups.
        prefix: what the command's `--set` wants before a key, such as a stage's number in a chain.
    """
    old, new = read_toml(path / "config.toml"), tomllib.loads(to_toml(config))
    was, now = _flat(old), _flat(new)
    different = [
        key
        for key in [*now, *(key for key in was if key not in now)]
        if was.get(key) != now.get(key)
        and may_differ.isdisjoint((key.partition(".")[0], key.rpartition(".")[2]))
    ]
    if not different:
        return
    key, more = different[0], len(different) - 1
    shown = f"{prefix}{key} = {was.get(key, 'not set')}, now it is {now.get(key, 'not set')}"
    others = f" (and {more} more of its settings)" if more else ""
    raise UserError(
        f"{path} was started with {shown}{others}; "
        f"{_advice(config, {key: was.get(key) for key in different}, prefix)}"
    )


def _advice(config: Config, wanted: Mapping[str, Any], prefix: str) -> str:
    """Return what continues a run whose settings were `wanted`."""
    options = [option(key, value) for key, value in wanted.items()]
    if problem := _hindrance(config, wanted, options):
        return f"it cannot be continued ({problem}); choose another --out"
    said = " ".join(f"--set {shlex.quote(prefix + each)}" for each in options)
    return f"to continue it add {said}, or choose another --out"


def _hindrance(config: Config, wanted: Mapping[str, Any], options: Sequence[str]) -> str | None:
    """Return why `--set` with these options does not make the settings what they were, or None."""
    try:
        changed = load(type(config), defaults=flatten(config), overrides=options)
    except UserError as error:
        return str(error).removeprefix("--set: ")
    made = _flat(tomllib.loads(to_toml(changed)))
    return next((f"{key} would differ" for key in wanted if made.get(key) != wanted[key]), None)


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
