"""The experiment from its first training to its last, gone on with wherever it was stopped."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from autoflow.search.pairs import TargetPairs, choose_pairs, read_pairs, write_pairs
from autoflow.search.run import run_search
from autoflow.search.settings import Base, SearchSettings, Trials
from benchmarks.evidence.pool import SEARCH
from benchmarks.evidence.recipe import MeasuredTarget, Recipe
from benchmarks.evidence.trainings import (
    OutOfTime,
    Training,
    comparison,
    noise,
    ranking,
    references,
    train,
)
from selfflow.runs.config import load
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console, format_duration
from selfflow.runs.run import Run, read_table
from selfflow.video import open_target

KIND = "evidence"
NEVER = float("inf")


def within_reach(recipe: Recipe, data_root: Path | None) -> Recipe:
    """Return the recipe with those of its targets that are found here; say which are not."""
    found: list[MeasuredTarget] = []
    for each in recipe.targets:
        try:
            open_target(each.name, data_root)
        except UserError as error:
            console.print(f"Left out: {error}", markup=False, soft_wrap=True)
        else:
            found.append(each)
    if not found:
        raise UserError("none of the recipe's targets is there")
    return recipe.model_copy(update={"targets": tuple(found)})


def stored_recipe(path: Path) -> Recipe:
    """Return the recipe of a run folder; UserError if it holds no such experiment."""
    if read_table(path / "environment.json").get("kind") != KIND:
        raise UserError(f"{path}: holds no evidence")
    return load(Recipe, file=path / "config.toml")


def open_targets(
    recipe: Recipe, path: Path, data_root: Path | None, device: torch.device
) -> dict[str, TargetPairs]:
    """Return the pairs that are measured, chosen once and stored in the run folder.

    All are of known flow, so that Ω and AEPE are of the same ones. The search sees the first target
    alone, chooses its own pairs and reads no label.
    """
    found: dict[str, TargetPairs] = {}
    for each in recipe.targets:
        file, target = path / f"pairs-{each.name}.json", open_target(each.name, data_root)
        if not file.exists():
            write_pairs(file, choose_pairs(target, each.pairs, labelled=True, device=device))
        found[each.name] = read_pairs(file, target, device)
    return found


def run_experiment(
    recipe: Recipe,
    path: Path,
    *,
    device: torch.device,
    data_root: Path | None = None,
    budget: float | None = None,
    report: Callable[[], object],
) -> bool:
    """Run what is missing in a run folder; return whether all is there in the end.

    Args:
        recipe: what there is to do.
        path: the run folder, new or of the same recipe.
        device: where networks are trained.
        data_root: where data sets lie.
        budget: seconds after which it stops, in the middle of a training if need be.
        report: called after each part, so that an unfinished run has its report.
    """
    deadline = NEVER if budget is None else time.time() + budget
    with Run.open(path, KIND, recipe, may_differ={"device"}):
        targets = open_targets(recipe, path, data_root, device)
        try:
            for part in (noise(recipe), ranking(recipe)):
                _train_all(part, recipe, path, targets, device, deadline)
                report()
            if recipe.trials:
                search(recipe, path, device, data_root, deadline)
            for part in (comparison(recipe), references(recipe)):
                _train_all(part, recipe, path, targets, device, deadline)
                report()
        except OutOfTime:
            report()
            return False
    return True


def _train_all(
    part: Sequence[Training],
    recipe: Recipe,
    path: Path,
    targets: dict[str, TargetPairs],
    device: torch.device,
    deadline: float,
) -> None:
    for number, training in enumerate(part, start=1):
        if training.file(path).exists():
            continue
        begun = time.monotonic()
        train(training, recipe, path, targets, device, deadline)
        took = format_duration(time.monotonic() - begun)
        console.print(f"{number:>3} of {len(part)}: {training.key}, {took}", soft_wrap=True)


def search_settings(recipe: Recipe, data_root: Path | None, budget: float | None) -> SearchSettings:
    """Return the settings of the search: a network in each trial as in the short trainings."""
    target = recipe.targets[0]
    return SearchSettings(
        target=target.name,
        name="evidence",
        trials=recipe.trials,
        budget=budget,
        startup=max(2, recipe.trials // 3),
        spread=recipe.spread,
        seed=recipe.seed + 1,
        device=recipe.device,
        data_root=data_root,
        metric=recipe.metric,
        pairs=target.pairs,
        training=recipe.training,
        base=Base(init=recipe.base, steps=0),
        trial=Trials(**recipe.trial.model_dump()),
    )


def search(
    recipe: Recipe, path: Path, device: torch.device, data_root: Path | None, deadline: float
) -> None:
    """Search on the first target, without labels; OutOfTime if the trials are not all done."""
    budget = None if deadline == NEVER else deadline - time.time()
    if budget is not None and budget <= 0:
        raise OutOfTime
    settings = search_settings(recipe, data_root, budget)
    try:
        found = run_search(settings, path / SEARCH, device, train=False)
    except UserError:
        if time.time() < deadline:
            raise
        raise OutOfTime from None  # with no trial complete there is nothing to conclude
    if found.results["trials"] < recipe.trials:
        raise OutOfTime
