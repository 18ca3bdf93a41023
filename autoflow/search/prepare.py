"""What all processes of a search need before the first trial, made by one of them."""

from pathlib import Path
from typing import Any

import torch

from autoflow.search.bench import BASE, Bench, make_base, open_bench
from autoflow.search.budget import Budget
from autoflow.search.pairs import pairs_of, write_pairs
from autoflow.search.settings import SearchSettings
from autoflow.search.study import check_study, kept, read_study
from autoflow.search.work import BASE_OF_STUDY, PAIRS, STUDY, storage_of
from selfflow.runs.errors import UserError
from selfflow.runs.lock import locked
from selfflow.runs.run import MAY_DIFFER, Run, check_run
from selfflow.video import open_target

LOCK = ".prepare.lock"
_MAY_DIFFER = MAY_DIFFER | {"data_root", "pictures", "keep"}


def prepare(
    settings: SearchSettings,
    path: Path,
    device: torch.device,
    *,
    base: bool,
    budget: Budget | None = None,
) -> Bench:
    """Open a run folder, and make what is missing in it; return what the trials share.

    Of several processes one does so; the others wait until it is there.

    Args:
        settings: of the search.
        path: its run folder.
        device: where networks are trained.
        base: whether a base network is needed.
        budget: the time that there is, or None.

    Raises:
        UserError: the folder or the study was made for something else, or the time is over.
    """
    check_run(path, "search", settings.public(), _MAY_DIFFER)
    waiting = f"{path}: another process prepares the search; this one waits."
    end = None if budget is None else budget.end
    with locked(path / LOCK, waiting, until=end) as held:
        if not held:
            raise UserError(f"{path}: the budget is over before the search is prepared")
        check_run(path, "search", settings.public(), _MAY_DIFFER)
        known = _purpose_of_study(settings, path)
        Run.open(path, "search", settings.public(), may_differ=_MAY_DIFFER)
        if known and not (path / "pairs.json").exists():
            _take_pairs(settings, path)
        bench = open_bench(settings, path, device)
        if not base or (path / BASE).exists():
            return bench
        if settings.base.steps and known.get(BASE_OF_STUDY):
            raise UserError(
                f"study {settings.name} was begun with the base network of another run folder; "
                f"copy its {BASE} to {path}, or share one --out"
            )
        make_base(settings, bench, path, deadline=end)
        return open_bench(settings, path, device)


def _take_pairs(settings: SearchSettings, path: Path) -> None:
    """Store the study's list of pairs: chosen here, on another machine, it might be another."""
    study = read_study(storage_of(settings, path), settings.name)
    listed = kept(study, PAIRS)
    if listed is not None:
        target = open_target(settings.target, settings.data_root)
        pairs = pairs_of(listed, f"study {settings.name}", target)
        write_pairs(path / "pairs.json", pairs)


def _purpose_of_study(settings: SearchSettings, path: Path) -> dict[str, Any]:
    """Return what the study was made for, if there is one; UserError if for something else."""
    if settings.storage is None and not (path / STUDY).exists():
        return {}
    return check_study(storage_of(settings, path), settings.name, settings.made_for())
