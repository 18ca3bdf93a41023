from dataclasses import replace
from pathlib import Path

import pytest
from books import measured
from known import small_settings

from autoflow.search.results import TrialResult
from autoflow.search.settings import SearchSettings
from autoflow.search.trial_folder import TrialFolder, tidy
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError


def trials(count: int, running: int | None = None) -> list[TrialResult]:
    """The later, the better."""
    return [
        TrialResult(
            number=number,
            state="running" if number == running else "complete",
            parameters={},
            course=(measured(1, float(count - number)),),
            seconds=1.0,
            reason="",
            key=f"tpe-{number}",
        )
        for number in range(count)
    ]


def leave(run: Path, known: list[TrialResult]) -> None:
    for trial in known:
        folder = TrialFolder.of(run, trial.key)
        folder.path.mkdir(parents=True, exist_ok=True)
        for name in ("network.safetensors", "checkpoint.pt", "trial.json"):
            (folder.path / name).touch()


def left(run: Path) -> dict[str, set[str]]:
    return {path.name: {f.name for f in path.iterdir()} for path in (run / "trials").iterdir()}


def settings(keep: str = "best", strategy: str = "tpe") -> SearchSettings:
    return replace_values(small_settings("sample"), {"trial.keep": keep, "strategy": strategy})


@pytest.mark.parametrize(
    ("keep", "kept"), [("best", {4, 3, 2}), ("all", {4, 3, 2, 1, 0}), ("none", set())]
)
def test_networks_are_kept_of_the_best_of_all_or_of_none(
    tmp_path: Path, keep: str, kept: set[int]
) -> None:
    known = trials(5)
    leave(tmp_path, known)
    tidy(tmp_path, known, settings(keep))
    assert left(tmp_path) == {f"tpe-{n}": {"network.safetensors", "trial.json"} for n in kept}


def test_a_running_trial_keeps_all_it_has(tmp_path: Path) -> None:
    known = trials(2, running=0)
    leave(tmp_path, known)
    tidy(tmp_path, known, settings("none"))
    assert left(tmp_path) == {"tpe-0": {"network.safetensors", "checkpoint.pt", "trial.json"}}


def test_a_trial_without_a_network_leaves_nothing(tmp_path: Path) -> None:
    known = trials(1)
    leave(tmp_path, known)
    TrialFolder.of(tmp_path, "tpe-0").network.unlink()
    tidy(tmp_path, known, settings("all"))
    assert left(tmp_path) == {}


@pytest.mark.parametrize("strategy", ["pbt", "tpe"])
def test_a_population_keeps_its_last_two_generations(tmp_path: Path, strategy: str) -> None:
    known = [replace(trial, generation=trial.number // 2) for trial in trials(6)]
    leave(tmp_path, known)
    tidy(tmp_path, known, settings("none", strategy))
    kept = range(2, 6) if strategy == "pbt" else ()
    assert set(left(tmp_path)) == {f"tpe-{number}" for number in kept}


def test_a_checkpoint_of_something_else_is_removed(tmp_path: Path) -> None:
    folder = TrialFolder.of(tmp_path, "start-0")
    made_for = {"study": "a", "parameters": {"x": 0.1, "y": True}}
    run = folder.open(made_for)
    run.checkpoint.touch()
    assert folder.open(dict(made_for)).has_checkpoint()
    assert not folder.open(made_for | {"study": "b"}).has_checkpoint()
    assert not run.events


@pytest.mark.parametrize("key", ["../../home", "a/b", "", ".", "A"])
def test_a_key_that_is_no_name_becomes_no_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match="no name"):
        TrialFolder.of(tmp_path, key)
