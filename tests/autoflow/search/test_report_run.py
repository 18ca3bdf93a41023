"""`autoflow report` on run folders whose studies are made up: what it writes, what it leaves."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from known import Moving, small_settings
from optuna.trial import FrozenTrial, TrialState, create_trial
from pages import Page
from studies import made_up_study

from autoflow.cli import main
from autoflow.hyperparameters import Hyperparameters
from autoflow.search.bench import open_bench
from autoflow.search.report_run import open_run, rebuild_report, stored_settings
from autoflow.search.results import KEY, MEASUREMENTS, REASON, SECONDS, TrialResult
from autoflow.search.settings import SearchSettings
from autoflow.search.work import open_trials
from autoflow.sets import read_sets
from autoflow.space import distributions, searched
from selfflow.io import write_image
from selfflow.runs.config import replace_values, to_toml

CPU = torch.device("cpu")
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target") / "moving"
    folder.mkdir()
    for index in range(4):
        write_image(folder / f"{index:03d}.png", Moving().frame(index))
    return folder


def stored(trial: TrialResult, settings: SearchSettings, state: str | None = None) -> FrozenTrial:
    """A made-up trial as a study holds it, on the hyperparameters that the settings search."""
    space = searched(Hyperparameters(), settings.only)
    attributes: dict[str, Any] = {
        SECONDS: trial.seconds,
        KEY: trial.key,
        **({REASON: trial.reason} if trial.state != "running" else {}),
    }
    return create_trial(
        state=STATES[state or trial.state],
        value=trial.omega if (state or trial.state) == "complete" else None,
        params={name: trial.parameters[name] for name in space},
        distributions=distributions(space),
        user_attrs=attributes,
        system_attrs={MEASUREMENTS: [measured.as_dict() for measured in trial.course]},
    )


def run_folder(path: Path, settings: SearchSettings, trials: Sequence[TrialResult]) -> Path:
    """A run folder as a search leaves it when it is stopped, with these trials in its study."""
    path.mkdir()
    (path / "config.toml").write_text(to_toml(settings))
    bench = open_bench(settings, path, CPU)
    study = open_trials(settings, bench, path)
    study.add_trials([stored(trial, settings) for trial in trials])
    return path


@pytest.fixture(scope="module")
def settings(frames: Path) -> SearchSettings:
    changed = {"trial.steps": 90, "only": ("effects.fog", "effects.shutter")}
    return replace_values(small_settings(str(frames), trials=50), changed)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory, settings: SearchSettings) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run = run_folder(folder / "run", settings, made_up_study(25, labelled=False))
    bench = open_bench(settings, run, CPU)
    running = stored(made_up_study(26, labelled=False)[-1], settings, "running")
    open_trials(settings, bench, run).add_trial(running)
    rebuild_report(settings, run, CPU)
    return run


@pytest.fixture
def run(made_up: Path, tmp_path: Path) -> Path:
    """A copy of the run folder that a test may change."""
    return Path(shutil.copytree(made_up, tmp_path / "run"))


def report(*arguments: object) -> dict[str, Any]:
    """What `autoflow report --json` prints, on standard output alone."""
    texts = [str(each) for each in arguments]
    result = CliRunner().invoke(main, ["report", *texts, "--json", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["report", *[str(each) for each in arguments]])
    assert result.exit_code == 2
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in result.output
    return line


def contents(path: Path) -> dict[str, bytes]:
    names = ("best.toml", "top3.toml", "results.json", "report.html", "trials.csv")
    return {name: (path / name).read_bytes() for name in names}


def test_a_run_that_is_at_work_has_its_report_with_all_tables(made_up: Path) -> None:
    results = json.loads((made_up / "results.json").read_text())
    assert (results["trials"], results["running"], results["wanted"]) == (25, 1, 50)
    page = Page(text := (made_up / "report.html").read_text())
    assert "So far 25 of 50 trials have ended, 1 more were running" in text
    assert "frames of" not in text  # it is in the picture
    assert "The target and the sets" in text
    files = [link for link in page.links if not link.startswith("#")]
    assert len(files) > 10
    assert all((made_up / link).exists() for link in files)


def test_json_is_what_is_in_the_folder(run: Path) -> None:
    found = report(run)
    assert found.pop("report") == str(run / "report.html")
    assert found == json.loads((run / "results.json").read_text())
    assert found["best_sets"][0]["largest_changes"][0]["unit"]


def test_other_weights_have_a_folder_of_their_own(run: Path) -> None:
    before = contents(run)
    found = report(run, "--weights", "photometric=0,smoothness=1,distillation=0")
    assert contents(run) == before
    folder = run / "weights" / "photometric=0,smoothness=1,distillation=0"
    assert found["report"] == str(folder / "report.html")
    opened = open_run(stored_settings(run), run, CPU)
    complete = [trial for trial in opened.trials if trial.state == "complete"]
    best = min(complete, key=lambda trial: trial.last.smoothness)
    assert found["weights"]["best_after"] == found["best_trial"] == best.number
    assert found["best"]["omega"] == best.last.smoothness
    assert read_sets(folder)[0] == replace_values(opened.bench.start, best.parameters)
    page = Page((folder / "report.html").read_text())
    files = [link for link in page.links if not link.startswith("#")]
    assert all((folder / link).exists() for link in files)
    assert (folder / "tables" / "shift.csv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weights", "smooth=1"], "smooth is no term"),
        (["--weights", "smoothness=-1"], "smoothness=-1 is no weight"),
        (["--compare", "nowhere"], "nowhere: holds no search"),
        (["--compare", "RUN"], "is the same search"),
        (["--compare", "nowhere", "--weights", "smoothness=1"], "one at a time"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    made_up: Path, options: list[str], said: str
) -> None:
    before = sorted(made_up.iterdir())
    options = [str(made_up) if each == "RUN" else each for each in options]
    assert said in refused(made_up, *options)
    assert sorted(made_up.iterdir()) == before


def test_two_runs_are_put_side_by_side(run: Path, tmp_path: Path, settings: SearchSettings) -> None:
    other = replace_values(settings, {"seed": 1, "trials": 20})
    second = run_folder(tmp_path / "second", other, made_up_study(20, labelled=False, seed=1))
    shutil.copy(run / "pairs.json", second)
    before = contents(run)
    found = report(run, "--compare", second)
    assert contents(run) == before
    assert found["report"] == str(run / "compare.html")
    assert found["comparable"] is True
    assert (found["first"], found["second"]) == ("run", "second")
    assert {each["setting"] for each in found["settings"]} == {"seed", "trials"}
    page = Page((run / "compare.html").read_text())
    assert all((run / link).exists() for link in page.links)
    assert len(page.images) == 4  # two courses, importances, pictures


def test_without_any_complete_trial_there_is_a_report_and_no_set(
    tmp_path: Path, settings: SearchSettings
) -> None:
    run = run_folder(tmp_path / "run", settings, [])
    found = report(run)
    assert found["best"] is None
    assert "No trial is complete yet" in (run / "report.html").read_text()
    assert not (run / "best.toml").exists()
    assert report(run, "--weights", "smoothness=1")["weights"]["best_after"] is None


def test_a_dry_run_writes_nothing(run: Path) -> None:
    before = contents(run)
    for options in ([], ["--weights", "smoothness=1"]):
        result = CliRunner().invoke(main, ["report", str(run), *options, "--dry-run"])
        assert result.exit_code == 0
        assert contents(run) == before
    assert not (run / "weights").exists()
