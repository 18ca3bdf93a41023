"""`representation readout TASK`."""

import hashlib
import re
import time
from pathlib import Path
from typing import Any

import click

from representation.readout import READOUTS
from representation.readout.result import ENCODER, check_encoder, finished, write_result
from representation.readout.settings import ReadoutSettings
from representation.readout.task import Readout
from selfflow.runs.cli import Common, Group, common_options, json_option, print_result
from selfflow.runs.config import load, to_toml
from selfflow.runs.environment import environment
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import Run, check_run, default_run_path


@click.group(cls=Group)
def readout() -> None:
    """Measure what an encoder's features are worth, by the protocols of the papers."""


def command(task: str, kind: type[Readout]) -> click.Command:
    """Return the command of a task."""

    @click.command(task, help=_help(kind))
    @click.option("--encoder", help="A file, a run, a stored name, random, imagenet, timm/NAME.")
    @click.option("--data", help="A data set's name, or a folder.")
    @click.option("--protocol", help=f"{', '.join(kind.protocols)} [{kind.default_protocol}].")
    @click.option("--quick", is_flag=True, default=None, help="The protocol scaled down.")
    @click.option("--architecture", help="Of random, imagenet, foreign files [resnet50].")
    @click.option("--stride", type=int, help="Of the backbone [as it was trained].")
    @click.option("--out", type=click.Path(path_type=Path), help="Run folder.")
    @common_options
    @json_option
    def run_readout(common: Common, out: Path | None, as_json: bool, **flags: Any) -> None:
        settings = resolve(common, kind, flags)
        folder = out or default_run_path("readout", run_name(task, settings, kind))
        result = measure(common, task, kind, settings, folder)
        if as_json:
            print_result(result, as_json)
            return
        about = f"{task}, protocol {result['protocol']}{', quick' if result['quick'] else ''}"
        print_result({"readout": about, **result["scores"], "run": str(folder)}, as_json)

    return run_readout


def resolve(common: Common, kind: type[Readout], flags: dict[str, Any]) -> ReadoutSettings:
    """Return a readout's settings: its protocol's, scaled down if so asked, and what is given."""
    protocol = str(common.early("protocol", flags["protocol"]) or kind.default_protocol)
    if protocol not in kind.protocols:
        raise UserError(f"no protocol {protocol!r} here; known are {', '.join(kind.protocols)}")
    quick = str(common.early("quick", flags["quick"])).lower() == "true"
    chosen = {"protocol": protocol, **numbers(kind, protocol, quick)}
    return common.configure(kind.Settings, flags, {"cpu": chosen, "cuda": chosen})


def measure(
    common: Common, task: str, kind: type[Readout], settings: ReadoutSettings, folder: Path
) -> dict[str, Any]:
    """Open encoder and data, say what it will take, measure, and write the result.

    A run that is complete is not measured again.
    """
    check_run(folder, f"readout {task}", settings)
    readout = kind(settings, common.data_root)
    encoder = readout.encoder()
    check_encoder(folder, encoder)
    result = finished(folder, settings)
    if result is not None:
        console.print(f"{folder} is complete", soft_wrap=True)
        return result
    common.announce(settings, readout.describe())
    made_with = environment(f"readout {task}", settings.seed)
    with Run.open(folder, f"readout {task}", settings) as run:
        run.write_json(ENCODER, encoder)
        start = time.monotonic()
        outcome = readout.run(run)
        seconds = time.monotonic() - start
        return write_result(run, task, settings, encoder, outcome, seconds, made_with)


def run_name(task: str, settings: ReadoutSettings, kind: type[Readout]) -> str:
    """Return the name of a readout's folder, which tells it from others.

    Settings that are not the protocol's are told apart by a few digits.
    """
    encoder = settings.encoder
    if encoder in ("random", "imagenet"):
        encoder += f"-{settings.architecture or 'resnet50'}"
    parts = [task, Path(settings.data).name, encoder, settings.protocol]
    parts += ["quick"] * settings.quick + [f"seed{settings.seed}"]
    given = {name: getattr(settings, name) for name in ReadoutSettings.model_fields}
    usual = numbers(kind, settings.protocol, settings.quick)
    if settings != load(kind.Settings, values=given, defaults=usual):
        parts.append(hashlib.sha256(to_toml(settings).encode()).hexdigest()[:6])
    return re.sub(r"[^\w.+-]+", "-", "_".join(parts))


def numbers(kind: type[Readout], protocol: str, quick: bool) -> dict[str, Any]:
    """Return what a protocol, scaled down or not, makes of the defaults, by dotted key."""
    return {**kind.protocols[protocol], **(kind.quick if quick else {})}


def _help(kind: type[Readout]) -> str:
    return (kind.__doc__ or "").partition("\n\n")[0]


for name, each in READOUTS.items():
    readout.add_command(command(name, each))
