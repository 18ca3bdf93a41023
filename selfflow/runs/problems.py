"""What is wrong with a setting, in one line that names the place and the key."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Layer = tuple[str, dict[str, Any]]  # where values come from, as an error names it, and the values


def explain(error: ValidationError, layers: Sequence[Layer] = ()) -> str:
    """Return the first problem of a failed validation in one line that names place and key."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    places = [name for name, values in layers if _holds(values, first["loc"])]
    prefix = f"{places[-1]}: " if places else ""
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{prefix}{dotted} is not given"
    if first["type"] == "extra_forbidden":
        return f"{prefix}unknown key {dotted}"
    return f"{prefix}{dotted} = {_shown(first['input'])}: {problem[0].lower() + problem[1:]}"


def unknown_key(kind: type[BaseModel], values: Mapping[str, Any], prefix: str = "") -> str | None:
    """Return the first key, dotted, that a configuration class does not have."""
    for name, value in values.items():
        if name not in kind.model_fields:
            return prefix + name
        group = _group(kind, name)
        if group is not None and isinstance(value, Mapping):
            unknown = unknown_key(group, value, f"{prefix}{name}.")
            if unknown is not None:
                return unknown
    return None


def suggestion(kind: type[BaseModel], unknown: str) -> str:
    """Return what may have been meant by a key, or which keys there are."""
    names = list(_names(kind, ""))
    last = unknown.rpartition(".")[2]
    by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
    if close := get_close_matches(unknown, names, 1):
        return f"did you mean {close[0]}?"
    if close := get_close_matches(last, by_last, 1):
        return f"did you mean {by_last[close[0]]}?"
    return "known keys are " + ", ".join(kind.model_fields)


def _names(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    for name in kind.model_fields:
        yield prefix + name
        if (group := _group(kind, name)) is not None:
            yield from _names(group, f"{prefix}{name}.")


def _group(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the class of a nested group, also of one that may be None; None for a plain value."""
    annotation = kind.model_fields[name].annotation
    choices = (
        get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    )
    groups = [c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)]
    return groups[0] if groups else None


def _holds(values: Any, path: Sequence[int | str]) -> bool:
    for part in path:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
