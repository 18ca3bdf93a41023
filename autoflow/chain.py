"""`autoflow train --chain`: stages of training one after the other, each from what the last left.

A chain is a TOML file of tables `[[stages]]`. Each names its kind, `stage`, or a `recipe` (a file,
found beside the chain's own) that does; whatever else it holds are settings of that stage. A stage
starts from the network of the one before and is for the same target, unless it names others.

Networks go into the store under their names; but what a stage starts from is read from the run
folder of the stage that made it, whatever else was stored under its name in the meantime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from autoflow.network import DEVICE_DEFAULTS, NetworkSettings, NetworkTraining
from selfflow.models import NETWORK, load_network
from selfflow.runs.cli import Common
from selfflow.runs.config import Config, load, read_toml, to_toml
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import together
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import Run, default_run_path, read_table
from selfflow.runs.wording import counted
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
    """One stage of a chain, its settings resolved.

    Attributes:
        number: its place, from 1.
        stage: its kind's name.
        kind: what knows how to prepare it.
        config: its settings.
    """

    number: int
    stage: str
    kind: Kind
    config: Any

    @property
    def loop_steps(self) -> int:
        """How many steps the stage takes."""
        loop = self.config.training.optimisation.loop if self.stage == SCENES else self.config.loop
        return int(loop.steps)

    @property
    def target(self) -> str | None:
        """The target that its network is for, if that is known."""
        found = self.config.target_name() if self.stage == SCENES else self.config.target
        return None if found is None else str(found)

    def folder(self, path: Path) -> Path:
        """Return its run folder in the chain's."""
        return path / f"{self.number}-{self.stage}"


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
    links = together(lambda: read_chain(common, file, flags))
    path = out or default_run_path("train", file.stem)
    order = ", ".join(f"{link.stage} ({link.config.name})" for link in links)
    console.print(f"{counted(len(links), 'stage')}: {order}; run folders in {path}", soft_wrap=True)
    together(lambda: _check(links, common.data_root))
    if common.dry_run:
        for number, link in enumerate(links, 1):
            click.echo(f"# stage {number}: {link.stage}\n{to_toml(link.config)}")
        raise click.exceptions.Exit(0)
    networks: dict[str, Path] = {}
    for link in links:
        results = _train(link, path, networks.get(link.config.init), common.data_root)
        networks[link.config.name] = link.folder(path) / NETWORK
    return {"run": str(path), "networks": ", ".join(networks), **results}


def read_chain(common: Common, file: Path, flags: Mapping[str, Any]) -> list[Link]:
    """Return the stages of a chain file, resolved; none of their networks need exist."""
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
        if number == 1:
            given["init"] = flags.get("init")
        if number == len(tables):
            given["name"] = flags.get("name")
        links.append(_link(common, file, table, given, changes[number - 1], links))
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
    earlier: list[Link],
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
    defaults = dict(kind.device_defaults.get(pick_device(common.device).type, {}))
    if earlier:
        defaults |= {"init": earlier[-1].config.name, "target": earlier[-1].target}
    config = load(kind.config, file=path, values=settings, defaults=defaults, overrides=overrides)
    if stage != SCENES:
        made = [link.config.name for link in earlier]
        if config.init in made and config.target is None and config.needs_target:
            raise UserError(f"--target is needed: {config.init} is not made for one")
        config, chosen = resolve(config)
        for line in chosen:
            console.print(f"{stage}: {line}", soft_wrap=True)
    return Link(len(earlier) + 1, stage, kind, config)


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
    made: dict[str, str] = {}  # architectures of the networks that are still to be trained
    for link in links:
        config, first = link.config, link.config.init
        if link.stage == SCENES:
            architecture = config.training.architecture
            if first in made:
                if made[first] != architecture:
                    raise UserError(
                        f"stage {link.number} trains a {architecture}, but {first}, which it "
                        f"starts from, is a {made[first]}"
                    )
                config = config.model_copy(update={"init": None})
            link.kind.prepare(config, data_root)
        else:
            link.kind.prepare(config, data_root, STAND_IN if first in made else None)
            architecture = made.get(first) or load_network(first)[0].architecture
        made[config.name] = architecture


def _train(link: Link, path: Path, start: Path | None, data_root: Path | None) -> dict[str, Any]:
    """Run one stage, or leave it alone; `start` is the file of a network that the chain made."""
    config: Config = link.config
    folder = link.folder(path)
    console.rule(f"Stage {link.number}: {link.stage}, {link.config.name}")
    with Run.open(folder, "train", config, prefix=f"{link.number}.") as run:
        known = folder / "results.json"
        if known.exists() and (folder / NETWORK).exists():
            results = read_table(known)
            if results.get("steps", 0) >= link.loop_steps:
                done = counted(results["steps"], "step")
                console.print(f"{folder} is complete: {done}.", soft_wrap=True)
                return results
        training = together(lambda: link.kind.prepare(config, data_root, start))
        for line in training.estimate():
            console.print(line, markup=False, soft_wrap=True)
        return training.run(run)
