"""`autoflow train --chain`: stages of training one after the other, each from what the last left.

A chain is a TOML file of tables `[[stages]]`. Each names its kind, `stage`, or a `recipe` (a file,
found beside the chain's own) that does; whatever else it holds are settings of that stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from autoflow.network import DEVICE_DEFAULTS, NetworkSettings, NetworkTraining
from selfflow.runs.cli import Common
from selfflow.runs.config import Config, load, read_toml, to_toml
from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import Run, default_run_path, read_json
from selfflow.stage_config import resolve
from selfflow.stages import KINDS, Kind, kind_named, stage_of

SCENES = "scenes"
ALL_KINDS: Mapping[str, Kind] = {
    SCENES: Kind(NetworkSettings, DEVICE_DEFAULTS, NetworkTraining.prepare),
    **KINDS,
}
STAND_IN = "default-small"  # shipped, for a network that is still to be trained
# Flags of the command that are only for stages on rendered scenes.
SCENES_ONLY = ("hyperparameters", "top")


@dataclass(frozen=True)
class Link:
    """One stage of a chain, its settings resolved."""

    stage: str
    kind: Kind
    config: Any

    @property
    def loop_steps(self) -> int:
        """How many steps the stage takes."""
        loop = self.config.training.optimisation.loop if self.stage == SCENES else self.config.loop
        return int(loop.steps)


def run_chain(
    common: Common, file: Path, flags: Mapping[str, Any], out: Path | None
) -> dict[str, Any]:
    """Run a chain, or go on with it: stages that are complete are left alone.

    Args:
        common: the command's common options; `--set 2.loop.steps=100` changes the second stage.
        file: the chain.
        flags: of the command; `hyperparameters` and `top` are for all stages on rendered scenes,
            `target` is for all, `init` for the first, `name` is the last network's.
        out: the folder that holds a run folder for each stage; by default named after the file.

    Raises:
        UserError: a stage is unknown, does not fit, or lacks something; before anything is trained.
    """
    links = read_chain(common, file, flags)
    path = out or default_run_path("train", file.stem)
    order = ", ".join(f"{link.stage} ({link.config.name})" for link in links)
    console.print(f"{len(links)} stages: {order}; run folders in {path}", soft_wrap=True)
    _check(links, common.data_root)
    if common.dry_run:
        for number, link in enumerate(links, 1):
            click.echo(f"# stage {number}: {link.stage}\n{to_toml(link.config)}")
        raise click.exceptions.Exit(0)
    results = {
        link.config.name: _train(link, path, number, common.data_root)
        for number, link in enumerate(links, 1)
    }
    return {"run": str(path), "networks": ", ".join(results), **results[links[-1].config.name]}


def read_chain(common: Common, file: Path, flags: Mapping[str, Any]) -> list[Link]:
    """Return the stages of a chain file; each starts from the network of the one before."""
    tables = read_toml(file).get("stages")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables or [0]):
        raise UserError(f"{file} is no chain: it has no [[stages]]")
    unfit = [name for name, value in flags.items() if value is not None and "." in name]
    if unfit:
        key = unfit[0].rpartition(".")[2]
        raise UserError(f"--{key} is not for a chain; say --set 1.loop.{key}=… for its first stage")
    changes = _changes(common.overrides, len(tables))
    links: list[Link] = []
    for number, table in enumerate(tables, 1):
        given = {name: flags.get(name) for name in ("target", *SCENES_ONLY)}
        if number == len(tables):
            given["name"] = flags.get("name")
        if links:
            given["init"] = links[-1].config.name
            given["target"] = given["target"] or _target(links[-1])
        else:
            given["init"] = flags.get("init")
        links.append(_link(common, file, table, given, changes[number - 1]))
    for name in SCENES_ONLY:
        if flags.get(name) is not None and not any(link.stage == SCENES for link in links):
            raise UserError(f"--{name} is for stages on rendered scenes; {file} has none")
    return links


def _link(
    common: Common,
    file: Path,
    table: dict[str, Any],
    given: Mapping[str, Any],
    overrides: list[str],
) -> Link:
    settings = dict(table)
    recipe = settings.pop("recipe", None)
    path = None if recipe is None else file.parent / str(recipe)
    stage = str(settings.get("stage") or stage_of(path))
    kind = ALL_KINDS[SCENES] if stage == SCENES else kind_named(stage)
    left_out = () if stage == SCENES else SCENES_ONLY
    flags = {"device": common.device, "seed": common.seed, **given}
    settings |= {
        name: value for name, value in flags.items() if value is not None and name not in left_out
    }
    defaults = kind.device_defaults.get(pick_device(common.device).type)
    config = load(kind.config, file=path, values=settings, defaults=defaults, overrides=overrides)
    if stage != SCENES:
        config, chosen = resolve(config)
        for line in chosen:
            console.print(f"{stage}: {line}", soft_wrap=True)
    return Link(stage, kind, config)


def _target(link: Link) -> str | None:
    """Return the target that a stage's network will be for."""
    return link.config.target_name() if link.stage == SCENES else link.config.target


def _changes(overrides: tuple[str, ...], count: int) -> list[list[str]]:
    """Return the `--set` options of each stage, without the stage's number."""
    changes: list[list[str]] = [[] for _ in range(count)]
    for text in overrides:
        number, _, rest = text.partition(".")
        if not number.isdigit() or not 1 <= int(number) <= count or not rest:
            raise UserError(f"--set {text}: in a chain say N.key=value, N the stage, 1 to {count}")
        changes[int(number) - 1].append(rest)
    return changes


def _check(links: list[Link], data_root: Path | None) -> None:
    """Open everything that the stages need, so that the last does not fail after days."""
    for number, link in enumerate(links):
        config = link.config
        if number > 0:  # the network that it starts from is not there yet
            stand_in = None if link.stage == SCENES else STAND_IN
            config = config.model_copy(update={"init": stand_in})
        link.kind.prepare(config, data_root)


def _train(link: Link, path: Path, number: int, data_root: Path | None) -> dict[str, Any]:
    config: Config = link.config
    folder = path / f"{number}-{link.stage}"
    console.rule(f"Stage {number}: {link.stage}, {link.config.name}")
    with Run.open(folder, "train", config) as run:
        known = folder / "results.json"
        if known.exists():
            results = read_json(known)
            if results.get("steps", 0) >= link.loop_steps:
                console.print(f"{folder} is complete: {results['steps']} steps.", soft_wrap=True)
                return results
        training = link.kind.prepare(config, data_root)
        for line in training.estimate():
            console.print(line, markup=False, soft_wrap=True)
        return training.run(run)
