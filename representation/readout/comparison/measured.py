"""Results as they are compared: what was measured, and which settings decided it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from representation.readout import READOUTS
from representation.readout.result import RESULT, read_result
from selfflow.runs.config import flatten, nested
from selfflow.runs.errors import UserError
from selfflow.runs.run import to_json

# What is no setting of the measurement: what was measured (the encoder, the data, the protocol's
# name), the seed, and what is said, shown, or kept along the way. Groups end in a dot.
APART = frozenset(
    {
        *("encoder", "architecture", "stride", "data", "protocol", "quick", "seed"),
        *("device", "workers", "prefetch", "accumulate", "cache."),
        *("pictures", "pictures_every", "predictions", "log_every", "save_every"),
    }
)

# Other names of data sets, as folders may have them: lower case, without punctuation.
ALIASES: Mapping[str, str] = {
    "bdd": "bdd100k",
    "voc2012": "voc",
    "vocdevkit": "voc",
    "pascalvoc": "voc",
    "nyuv2": "nyu",
    "nyudepthv2": "nyu",
    "nyudepth": "nyu",
}


@dataclass(frozen=True)
class Place:
    """Where encoders are compared: results from different places share no column.

    Attributes:
        task: of `representation readout`.
        protocol: of the task.
        data: the data set's name.
        content: all that a result says of the data, as JSON.
        quick: whether the protocol was scaled down.
    """

    task: str
    protocol: str
    data: str
    content: str
    quick: bool


@dataclass(frozen=True)
class Measured:
    """One result.

    Attributes:
        path: its file.
        result: what it holds.
    """

    path: Path
    result: Mapping[str, Any]

    @property
    def scores(self) -> Mapping[str, float]:
        """By name, the one that counts first."""
        scores: Mapping[str, float] = self.result["scores"]
        return scores

    @property
    def repeats(self) -> str:
        """Return what two results share if one repeats the other: encoder, seed and setting."""
        own = dict(self.result["encoder"]), self.result.get("seed"), str(self.place)
        return to_json([*own, dict(self.deciding)])

    @cached_property
    def place(self) -> Place:
        """Where the encoder was measured."""
        result = self.result
        data = dict(result.get("data", {}))
        name = str(data.get("name") or data_name(str(result["settings"].get("data", ""))))
        return Place(
            result["task"], result["protocol"], name, to_json(data), bool(result.get("quick"))
        )

    @cached_property
    def deciding(self) -> Mapping[str, Any]:
        """The settings that may change a score, by dotted key."""
        apart = set(APART) | _of_devices(self.result["task"])
        return {
            key: value
            for key, value in self.result["settings"].items()
            if not apart & {key, key.rpartition(".")[2], f"{key.partition('.')[0]}."}
        }

    @cached_property
    def changed(self) -> Mapping[str, Any] | None:
        """Those that are not as the protocol has them; None if nobody knows the protocol."""
        usual = protocol_settings(self.place)
        if usual is None:
            return None
        return {
            key: value
            for key, value in self.deciding.items()
            if to_json(value) != to_json(usual.get(key))
        }

    @property
    def encoder(self) -> Mapping[str, Any]:
        """Return what makes two encoders the same one but for seeds, by name.

        `name` is without the number behind it if that is the seed of the encoder's training:
        flowe-0 and flowe-1 are two seeds of flowe.
        """
        about = dict(self.result["encoder"])
        seed = about.pop("seed", None)
        about.pop("weights", None)
        name = str(about.pop("name"))
        if not name.startswith(("timm/", "flow/")):
            name = Path(name).name.removesuffix(".safetensors")
        if seed is not None:
            name = re.sub(rf"[-_.]?(?:seed|s)?0*{seed}$", "", name) or name
        return {"name": name, **about}


def data_name(name_or_path: str) -> str:
    """Return a data set's name: that of the last folder, in lower case, without punctuation."""
    plain = re.sub(r"[^a-z0-9]", "", Path(name_or_path).name.lower())
    return ALIASES.get(plain, plain)


def protocol_settings(place: Place) -> Mapping[str, Any] | None:
    """Return the settings that a protocol has by itself, or None if this version has none of it."""
    kind = READOUTS.get(place.task)
    if kind is None or place.protocol not in kind.protocols:
        return None
    values = {**kind.protocols[place.protocol], **(kind.quick if place.quick else {})}
    named = {"encoder": "random", "data": place.data, "protocol": place.protocol}
    try:
        return flatten(kind.Settings.model_validate(nested({**values, **named})))
    except ValidationError:
        return None


def find_results(paths: Iterable[Path]) -> tuple[list[Measured], list[str]]:
    """Return the results at paths, and lines about what was left out.

    A path is a result's file, the folder of a run, or any folder above such ones. Of results that
    repeat another one, with the same weights, seed and setting, the last one is taken.

    Raises:
        UserError: a path holds no result, or a file is none.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        own = path / RESULT if path.is_dir() else path
        found = [own] if own.is_file() else sorted(path.glob(f"**/{RESULT}"))
        if not found:
            raise UserError(f"{path} holds no result of a readout, and no folder below it does")
        files |= {file.resolve(): file for file in found}
    results = [Measured(file, _checked(file)) for file in files.values()]
    latest: dict[str, Measured] = {}
    for each in sorted(results, key=_started):
        latest[each.repeats] = each
    kept = [each for each in results if latest[each.repeats] is each]
    left = len(results) - len(kept)
    return kept, [f"left out: {left} that repeat others with the same seed"] * bool(left)


def _checked(file: Path) -> dict[str, Any]:
    result = read_result(file)
    for name, kind in (("scores", dict), ("encoder", dict), ("settings", dict)):
        if not isinstance(result[name], kind):
            raise UserError(f"{file} is no result of a readout: its {name} are none")
    bad = [name for name, score in result["scores"].items() if not isinstance(score, int | float)]
    if bad or not result["scores"] or "name" not in result["encoder"]:
        raise UserError(f"{file} is no result of a readout: it lacks numbers or an encoder's name")
    return result


def _started(measured: Measured) -> str:
    return str(measured.result.get("environment", {}).get("started", ""))


def _of_devices(task: str) -> set[str]:
    by_device = getattr(READOUTS.get(task), "device_defaults", {})
    return {key for values in by_device.values() for key in values}
