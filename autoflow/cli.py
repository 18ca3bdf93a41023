"""The command line: `autoflow search|train|render|preview|report`."""

import re
import time
from pathlib import Path
from typing import Any

import click

from autoflow.chain import run_chain
from autoflow.hyperparameters import Hyperparameters
from autoflow.network import DEVICE_DEFAULTS as NETWORK_DEFAULTS
from autoflow.network import NetworkSettings, NetworkTraining
from autoflow.preview import gallery, preview
from autoflow.search.estimate import estimate
from autoflow.search.objective import METRICS
from autoflow.search.report.reweighting import read_weights
from autoflow.search.report_run import (
    COMPARE,
    compare_runs,
    open_run,
    rebuild_report,
    report_with_weights,
    stored_settings,
)
from autoflow.search.run import run_search
from autoflow.search.settings import DEVICE_DEFAULTS as SEARCH_DEFAULTS
from autoflow.search.settings import STRATEGIES, SearchSettings
from autoflow.sets import read_hyperparameters, read_sets
from autoflow.textures import PhotographBank
from autoflow.writer import LAYOUTS, write_set
from selfflow.cli.terminal import output
from selfflow.cli.train import before_and_after
from selfflow.io import IMAGE_SUFFIXES, write_image
from selfflow.runs.cli import Common, Group, common_options, distributed, json_option, print_result
from selfflow.runs.config import flatten, load
from selfflow.runs.devices import keep_freed_memory, pick_device
from selfflow.runs.distributed import together
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run, default_run_path
from selfflow.runs.wording import counted

_PATH = click.Path(path_type=Path)


class SizeType(click.ParamType):
    """HxW in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Return (height, width)."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", str(value))
        height, width = (int(match[1]), int(match[2])) if match else (0, 0)
        if min(height, width) < 16:
            raise UserError(f"{value} is no size; give HxW, both at least 16, such as 448x576")
        return height, width


SIZE = SizeType()

hyperparameters_option = click.option(
    "--hyperparameters", default="default", show_default=True, help="RUN, FILE or default."
)
textures_option = click.option(
    "--photographs", type=_PATH, help="Folder of pictures to cut textures from."
)


@click.group(cls=Group)
def main() -> None:
    """Learn a synthetic training set for optical flow from unlabelled video."""


@main.command()
@click.option("--target", help="Name or path of the video to learn for.")
@click.option("--metric", type=click.Choice(METRICS), help="What is minimised.")
@click.option("--strategy", type=click.Choice(STRATEGIES), help="What proposes the next trial.")
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all.")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at the same time.")
@click.option("--storage", help="Optuna storage URL; by default SQLite in the run folder.")
@click.option("--name", help="Of the search, and of the network it ends with.")
@click.option("--steps", type=click.IntRange(min=1), help="Of the training at the end.")
@click.option("--budget", help="Time after which it ends with what was found, such as 2h.")
@click.option("--no-train", is_flag=True, help="Leave out the training at the end.")
@click.option("--out", type=_PATH, help="Run folder; the same one again continues it.")
@json_option
@common_options
def search(
    common: Common,
    metric: str | None,
    steps: int | None,
    no_train: bool,
    out: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Search for the hyperparameters whose scenes teach flow on a target best.

    Any number of these processes may work on one search at the same time: with the same --out
    where they share a disk, else with the same --storage.
    """
    begun = time.time()
    values = {**flags, "metric.name": metric, "final.steps": steps}
    settings = common.configure(SearchSettings, values, SEARCH_DEFAULTS)
    path = out or default_run_path("search", settings.name)
    device = pick_device(settings.device)
    expected = estimate(settings, path, device, train=not no_train)
    common.announce(settings.public(), expected.lines)
    found = run_search(settings, path, device, train=not no_train, begun=begun, step=expected.step)
    shown = found.results | {"report": str(found.report), "run": str(path)}
    if not as_json:
        shown = _brief(shown)
    print_result(shown, as_json)


@main.command()
@distributed
@click.option("--chain", type=_PATH, help="TOML file of stages that are run one after the other.")
@click.option("--hyperparameters", help="RUN, FILE or default.")
@click.option("--top", type=click.IntRange(min=1), help="Mix only the first so many sets.")
@click.option("--init", help="Model to start from; by default an untrained network.")
@click.option("--target", help="What the sets were made for, where the run does not say.")
@click.option("--name", help="Under which the network is stored.")
@click.option("--steps", type=click.IntRange(min=1), help="Of training.")
@click.option("--budget", help="Time after which it stops early, such as 2h.")
@click.option("--out", type=_PATH, help="Run folder; the same one again continues it.")
@json_option
@common_options
def train(
    common: Common,
    chain: Path | None,
    steps: int | None,
    budget: str | None,
    out: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a network on the scenes of one or more sets and put it into the model store.

    With --chain, go through all stages of a file: scenes, then the target's own frames.
    """
    loop = "training.optimisation.loop"
    values = {**flags, f"{loop}.steps": steps, f"{loop}.budget": budget}
    if chain is not None:
        results = run_chain(common, chain, values, out)
        if as_json or "before" not in results:
            print_result(results, as_json)
            return
        output().print(before_and_after(results))
        shown = ("run", "networks", "target", "steps", "model")
        print_result({name: results[name] for name in shown if name in results}, as_json=False)
        return
    settings = together(lambda: common.configure(NetworkSettings, values, NETWORK_DEFAULTS))
    path = out or default_run_path("train", settings.name)
    training = together(lambda: NetworkTraining.prepare(settings))
    place = f"Run folder {path}; the network will be stored as {settings.name}"
    common.announce(settings, [*training.estimate(), place])
    with Run.open(path, "train", settings) as run:
        results = training.run(run)
    print_result(results, as_json)


@main.command()
@hyperparameters_option
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--size", type=SIZE, default="448x576", show_default=True)
@click.option("--layout", type=click.Choice(sorted(LAYOUTS)), default="chairs", show_default=True)
@click.option("--out", type=_PATH, required=True, help="Folder; the same again finishes the set.")
@textures_option
@json_option
@common_options
def render(
    common: Common,
    hyperparameters: str,
    count: int,
    size: tuple[int, int],
    layout: str,
    out: Path,
    photographs: Path | None,
    as_json: bool,
) -> None:
    """Write rendered pairs and their flow to disk."""
    sets = [_changed(each, common) for each in read_sets(hyperparameters)]
    common.announce(
        sets[0], [f"{counted(count, 'pair')} of {size[0]}x{size[1]} to {out} ({layout} layout)"]
    )
    keep_freed_memory()
    written = write_set(
        sets,
        count=count,
        size=size,
        seed=common.seed or 0,
        layout=layout,
        out=out,
        device=pick_device(common.device),
        photographs=_photographs(photographs),
    )
    print_result({"samples": count, "rendered_now": written, "folder": str(out)}, as_json)


@main.command(name="preview")
@hyperparameters_option
@click.option("--out", type=_PATH, required=True, help="Picture file, SHEET.png.")
@click.option("--count", type=click.IntRange(1, 100), default=6, show_default=True)
@click.option("--size", type=SIZE, default="224x288", show_default=True)
@click.option("--gallery", "as_gallery", is_flag=True, help="Each shape and effect by itself.")
@textures_option
@common_options
def preview_command(
    common: Common,
    hyperparameters: str,
    out: Path,
    count: int,
    size: tuple[int, int],
    as_gallery: bool,
    photographs: Path | None,
) -> None:
    """Draw a contact sheet of what a set renders."""
    device, seed = pick_device(common.device), common.seed or 0
    if out.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{out}: a sheet is a picture, such as SHEET.png")
    bank = _photographs(photographs)
    read = [read_hyperparameters(hyperparameters)] if as_gallery else read_sets(hyperparameters)
    sets = [_changed(each, common) for each in read]
    shown = "Each shape and effect" if as_gallery else counted(count, "sample")
    common.announce(sets[0], [f"{shown} at {size[0]}x{size[1]}, on one sheet: {out}"])
    if as_gallery:
        image = gallery(sets[0], size=size, seed=seed, device=device, photographs=bank)
    else:
        image = preview(sets, count=count, size=size, seed=seed, device=device, photographs=bank)
    write_image(out, image)
    click.echo(str(out))


@main.command()
@click.argument("run", type=_PATH)
@click.option("--weights", help="Rank again, with photometric=1,smoothness=2,distillation=0.3.")
@click.option("--compare", type=_PATH, help="Another search's run folder, to be put beside it.")
@json_option
@common_options
def report(
    common: Common, run: Path, weights: str | None, compare: Path | None, as_json: bool
) -> None:
    """Write a search's report anew, also while it is at work.

    With other weights of Ω the results go into a folder of their own.
    """
    if weights is not None and compare is not None:
        raise UserError("--weights and --compare: one at a time")
    settings, device = stored_settings(run, common.data_root), pick_device(common.device)
    if compare is not None:
        other = stored_settings(compare, common.data_root)
        common.announce(settings, [f"{run} and {compare} side by side: {run / COMPARE}"])
        found = compare_runs(open_run(settings, run, device), open_run(other, compare, device))
    elif weights is not None:
        read_weights(weights, settings.metric.terms)
        common.announce(settings, [f"The trials of {run}, ranked again with {weights}"])
        found = report_with_weights(settings, run, device, weights)
    else:
        common.announce(settings, [f"Results of {run} and {run / 'report.html'}, from its study"])
        found = rebuild_report(settings, run, device)
    shown = found.results | {"report": str(found.report)}
    print_result(shown if as_json else _brief(shown), as_json)


def _changed(each: Hyperparameters, common: Common) -> Hyperparameters:
    """Return a set with what --config and --set change."""
    own = flatten(each)
    return load(Hyperparameters, defaults=own, file=common.config, overrides=common.overrides)


def _photographs(folder: Path | None) -> PhotographBank | None:
    return None if folder is None else PhotographBank.from_folder(folder)


def _brief(results: dict[str, Any]) -> dict[str, Any]:
    """Return the results that fit on a line each."""
    long = (dict, list, type(None))
    return {name: value for name, value in results.items() if not isinstance(value, long)}
