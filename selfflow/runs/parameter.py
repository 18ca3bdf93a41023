"""Hyperparameters: values that know their meaning, unit and range, so that they can be searched."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Parameter:
    """One number that a search may change.

    Attributes:
        name: dotted, as in the configuration file; the ends of a pair are `name.low`, `name.high`.
        default: the value in force.
        low: smallest allowed value.
        high: largest allowed value.
        unit: "px", "degrees", ... or "" for a pure number.
        meaning: what it does, in a few words.
        log: whether equal ratios matter, not equal differences.
        kind: float, int or bool.
    """

    name: str
    default: float
    low: float
    high: float
    unit: str
    meaning: str
    log: bool
    kind: type


def parameter(
    default: float, low: float, high: float, *, unit: str, meaning: str, log: bool = False
) -> Any:
    """Declare a field of a Config as a hyperparameter, kept within [low, high]."""
    _check_declaration(default, default, low, high, log)
    extra = _metadata(low, high, unit, log)
    if isinstance(default, bool):
        return Field(default, description=meaning, json_schema_extra=extra)
    return Field(default, ge=low, le=high, description=meaning, json_schema_extra=extra)


def parameter_range(
    default: tuple[float, float],
    low: float,
    high: float,
    *,
    unit: str,
    meaning: str,
    log: bool = False,
) -> Any:
    """Declare a pair (a, b) with low <= a <= b <= high: a range that values are drawn from."""
    _check_declaration(*default, low, high, log)
    return Field(default, description=meaning, json_schema_extra=_metadata(low, high, unit, log))


def metadata(field: FieldInfo) -> dict[str, Any] | None:
    """Return unit, low, high and log of a hyperparameter's field; None for any other field."""
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) and "unit" in extra else None


def check_pair(value: tuple[float, float], field: FieldInfo) -> None:
    """Raise ValueError unless a `parameter_range` is in order and within its bounds."""
    known = metadata(field)
    if known is None:
        return
    if value[0] > value[1]:
        raise ValueError(f"the range is turned round: {value[0]:g} is larger than {value[1]:g}")
    if value[0] < known["low"] or value[1] > known["high"]:
        raise ValueError(f"the range must lie within {known['low']:g} to {known['high']:g}")


def parameters(model: BaseModel | type[BaseModel]) -> dict[str, Parameter]:
    """Return all hyperparameters of a configuration, nested ones too, by dotted name, in order.

    For a class the defaults are the declared ones, for an instance its own values.
    """
    return dict(_walk(model() if isinstance(model, type) else model, ""))


def _walk(model: BaseModel, prefix: str) -> list[tuple[str, Parameter]]:
    found = []
    for name, field in type(model).model_fields.items():
        value, dotted = getattr(model, name), prefix + name
        known = metadata(field)
        if isinstance(value, BaseModel):
            found += _walk(value, dotted + ".")
        elif known is not None:
            ends = {dotted: value}
            kind = field.annotation
            if isinstance(value, tuple):
                ends = {f"{dotted}.low": value[0], f"{dotted}.high": value[1]}
                kind = get_args(kind)[0]
            assert isinstance(kind, type)
            meaning = field.description or ""
            for end, default in ends.items():
                one = Parameter(name=end, default=default, meaning=meaning, kind=kind, **known)
                found.append((end, one))
    return found


def _metadata(low: float, high: float, unit: str, log: bool) -> dict[str, Any]:
    return {"unit": unit, "low": low, "high": high, "log": log}


def _check_declaration(first: float, last: float, low: float, high: float, log: bool) -> None:
    if not low <= first <= last <= high:
        raise ValueError(f"the default ({first}, {last}) is not within {low} to {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range must be positive, got {low} to {high}")
