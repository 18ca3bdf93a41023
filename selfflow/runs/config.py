"""Configuration: TOML and the command line in, validated, frozen values out.

A setting is looked up, the later the stronger, in: the class's defaults, defaults that depend on
the device, the file, the flags, `--set key=value`. A class that gives a group other defaults than
the group's own, such as `loop: LoopSettings = LoopSettings(steps=5)`, keeps those that are not
set, also where others of the group are.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from selfflow.runs.errors import UserError
from selfflow.runs.parameter import check_pair, metadata
from selfflow.runs.problems import Layer, explain, suggestion, unknown_key


class Config(BaseModel):
    """A group of settings: frozen, every key known, every value checked."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @field_validator("*")
    @classmethod
    def _check_pairs(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, tuple) and info.field_name is not None:
            check_pair(value, cls.model_fields[info.field_name])
        return value


C = TypeVar("C", bound=Config)


def load(
    kind: type[C],
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> C:
    """Return the configuration that defaults, a file, flags and overrides amount to.

    Args:
        kind: the class of the configuration.
        file: a TOML file, or None.
        overrides: "dotted.key=value" each, the value as in TOML; a bare word is a string, and
            nothing is None, which leaves a setting that need not be set unset.
        values: from flags, by dotted key; None stands for a flag that was not given.
        defaults: by dotted key, such as those that depend on the device.

    Raises:
        UserError: naming the place and the key of an unknown key or a bad value.
    """
    given = {key: value for key, value in (values or {}).items() if value is not None}
    layers: list[Layer] = [
        ("defaults", _group_defaults(kind)),
        ("defaults", nested(defaults or {})),
    ]
    if file is not None:
        layers.append((str(file), read_toml(file)))
    layers.append(("command line", nested(given)))
    layers += [("--set", nested(_parse_override(text))) for text in overrides]
    return _validate(kind, layers)


def replace_values(config: C, values: Mapping[str, Any]) -> C:
    """Return `config` with other values, by dotted key, validated.

    The ends of a pair are `key.low` and `key.high`. A search draws them independently, so they are
    put in order here; a file that has them turned round is an error.
    """
    flat = flatten(config)
    pairs = [key for key, value in flat.items() if isinstance(value, tuple) and len(value) == 2]
    changed = dict(values)
    for key in pairs:
        ends = [changed.pop(f"{key}.{end}", None) for end in ("low", "high")]
        if ends != [None, None]:
            kept = zip(ends, flat[key], strict=True)
            flat[key] = tuple(sorted(old if end is None else end for end, old in kept))
    return _validate(type(config), [("values", nested(flat | changed))])


def flatten(config: Config) -> dict[str, Any]:
    """Return all values by dotted key, in order."""
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            flat |= {f"{name}.{key}": each for key, each in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as the nested tables that they stand for."""
    tables: dict[str, Any] = {}
    for dotted, value in flat.items():
        for name in reversed(dotted.split(".")):
            value = {name: value}
        tables = _merge(tables, value)
    return tables


def read_toml(file: Path) -> dict[str, Any]:
    """Return a TOML file's content; UserError names the file and what is wrong with it."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from error


def option(key: str, value: Any) -> str:
    """Return `key=value`, with which `--set` gives a key a value as TOML has it; None unsets it."""
    if value is None:
        return f"{key}="
    bare = f"{key}={value}"
    plain = isinstance(value, str) and _parse_override(bare) == {key: value}
    return bare if plain else f"{key}={_toml_value(value)}"


def to_toml(config: Config) -> str:
    """Return a configuration as TOML that a person can read, each value beside its meaning.

    Values that are None are left out. Read back, it gives the same configuration.
    """
    return "\n".join(_toml_lines(config, "")).strip() + "\n"


def _group_defaults(kind: type[Config]) -> dict[str, Any]:
    """Return what a class says of its groups, which pydantic forgets where one value is given."""
    return {
        name: field.default.model_dump()
        for name, field in kind.model_fields.items()
        if isinstance(field.default, Config)
    }


def _validate(kind: type[C], layers: Sequence[Layer]) -> C:
    merged: dict[str, Any] = {}
    for place, values in layers:
        if unknown := unknown_key(kind, values):
            raise UserError(f"{place}: unknown key {unknown}; {suggestion(kind, unknown)}")
        merged = _merge(merged, values)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise UserError(explain(error, layers)) from error


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set takes key=value, got {text!r}")
    if not value.strip():
        return {key.strip(): None}
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return {key.strip(): parsed}


def _merge(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in update.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value)
        merged[name] = value
    return merged


def _toml_lines(config: Config, prefix: str) -> Iterator[str]:
    tables: list[tuple[str, Config]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            tables.append((f"[{prefix}{name}]", value))
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Config):
            tables += [(f"[[{prefix}{name}]]", each) for each in value]
        elif value is not None:
            line = f"{name} = {_toml_value(value)}"
            yield f"{line:<32}  # {_comment(field)}" if field.description else line
    for header, table in tables:
        yield ""
        yield header
        yield from _toml_lines(table, header.strip("[]") + ".")


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + "}"
    plain = str(value) if isinstance(value, Path) else value
    return tomli_w.dumps({"v": plain}).removeprefix("v = ").rstrip("\n")


def _comment(field: FieldInfo) -> str:
    known = metadata(field)
    if known is None:
        return field.description or ""
    unit = f"{known['unit']}, " if known["unit"] else ""
    return f"{field.description} ({unit}{known['low']:g} to {known['high']:g})"
