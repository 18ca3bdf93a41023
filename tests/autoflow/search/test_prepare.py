"""What several processes of a search need is made by one of them, and of one search alone."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from known import moving_target, small_settings

from autoflow.search import bench as bench_module
from autoflow.search import prepare as module
from autoflow.search.bench import BASE, make_base
from autoflow.search.budget import Budget
from autoflow.search.prepare import LOCK, prepare
from autoflow.search.settings import SearchSettings
from autoflow.search.work import open_trials
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.lock import locked

CPU = torch.device("cpu")
SETTINGS = small_settings("moving")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders for which a base network was made, by a stand-in that takes a while."""
    folders: list[Path] = []
    for place in (module, bench_module):
        monkeypatch.setattr(place, "open_target", lambda *_: moving_target())

    def make(settings: SearchSettings, bench: object, path: Path, **_: object) -> None:
        time.sleep(0.1)
        folders.append(path)
        (path / BASE).write_bytes(b"")

    monkeypatch.setattr(module, "make_base", make)
    monkeypatch.setattr(bench_module, "read_model", lambda path: ({}, {}))
    return folders


def together(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_several_processes_one_prepares(
    tmp_path: Path, made: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, benches = tmp_path / "run", []
    call = lambda: benches.append(prepare(SETTINGS, path, CPU, base=True))  # noqa: E731
    together(call, call, call)
    assert made == [path]
    assert len({bench.pairs.digest for bench in benches}) == 1
    assert all(bench.base is not None for bench in benches)
    assert "another process prepares the search" in capsys.readouterr().err
    prepare(SETTINGS, path, CPU, base=True)
    assert made == [path]


def test_no_base_network_is_made_where_none_is_needed(tmp_path: Path, made: list[Path]) -> None:
    scratch = replace_values(SETTINGS, {"trial.start": "scratch"})
    assert prepare(scratch, tmp_path / "run", CPU, base=False).base is None
    assert made == []


def test_who_comes_later_takes_the_list_of_pairs_of_the_study(tmp_path: Path) -> None:
    """On another machine, the motion that the choice goes by may be rounded otherwise."""
    changes = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "trial.start": "scratch"}
    settings = replace_values(SETTINGS, changes)
    bench = prepare(settings, tmp_path / "here", CPU, base=False)
    study = open_trials(settings, bench, tmp_path / "here")
    assert study.user_attrs["pairs"] == bench.pairs.as_json()
    chosen = bench.pairs.as_json()
    study.set_user_attr("pairs", chosen | {"pairs": chosen["pairs"][:1]})
    taken = prepare(settings, tmp_path / "there", CPU, base=False)
    assert taken.pairs.covering == bench.pairs.covering[:1]


def test_a_run_folder_keeps_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is continued with the password or without: what is compared has none."""
    monkeypatch.setattr(module, "check_study", lambda *_: {})
    url = "postgresql://me:secret@host/db"
    command = ["autoflow", "search", "--storage", url, f"--set=storage={url}?password=secret"]
    monkeypatch.setattr("sys.argv", command)
    changes = {"storage": url, "trial.start": "scratch"}
    settings = replace_values(SETTINGS, changes)
    prepare(settings, tmp_path, CPU, base=False)
    for url in ("postgresql://me@host/db", "postgresql://me:changed@host/db"):
        prepare(replace_values(settings, {"storage": url}), tmp_path, CPU, base=False)
    other = replace_values(settings, {"storage": "postgresql://me:secret@other/db"})
    with pytest.raises(UserError, match="storage"):
        prepare(other, tmp_path, CPU, base=False)
    written = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(written) > 2
    assert not [each for each in written if b"secret" in each.read_bytes()]


@pytest.mark.parametrize(
    ("changed", "named"), [({"spread": 0.3}, "spread"), ({"trial.steps": 3}, "steps")]
)
def test_other_settings_are_refused_with_their_key(
    tmp_path: Path, made: list[Path], changed: dict[str, object], named: str
) -> None:
    path = tmp_path / "run"
    open_trials(SETTINGS, prepare(SETTINGS, path, CPU, base=True), path)
    before = (path / "config.toml").read_text()
    with pytest.raises(UserError, match=named):
        prepare(replace_values(SETTINGS, changed), path, CPU, base=True)
    assert (path / "config.toml").read_text() == before


def test_a_folder_of_something_else_is_left_as_it_was(tmp_path: Path, made: list[Path]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="neither empty nor a run"):
        prepare(SETTINGS, tmp_path, CPU, base=True)
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_a_storage_that_cannot_be_opened_is_named_before_any_training(
    tmp_path: Path, made: list[Path]
) -> None:
    lost = SETTINGS.model_copy(update={"storage": f"sqlite:///{tmp_path}/none/study.db"})
    with pytest.raises(UserError, match=r"none/study\.db: cannot be opened"):
        prepare(lost, tmp_path / "run", CPU, base=True)
    assert made == []


def test_a_study_begun_with_another_folders_base_network_says_what_to_copy(
    tmp_path: Path, made: list[Path]
) -> None:
    shared = SETTINGS.model_copy(update={"storage": f"sqlite:///{tmp_path}/study.db"})
    first, second = tmp_path / "first", tmp_path / "second"
    open_trials(shared, prepare(shared, first, CPU, base=True), first)
    with pytest.raises(UserError, match=f"copy its {BASE} to {second}"):
        prepare(shared, second, CPU, base=True)
    (second / BASE).write_bytes((first / BASE).read_bytes())
    open_trials(shared, prepare(shared, second, CPU, base=True), second)
    assert made == [first]


def test_whoever_waits_for_longer_than_its_budget_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run"
    budget = Budget(time.time() + 0.05)
    with locked(path / LOCK, ""), pytest.raises(UserError, match="budget is over"):
        prepare(SETTINGS, path, CPU, base=True, budget=budget)


def test_a_base_network_that_takes_longer_than_the_budget_goes_on_later(tmp_path: Path) -> None:
    long = replace_values(SETTINGS, {"base.steps": 2})
    bench = prepare(long, tmp_path, CPU, base=False)
    with pytest.raises(UserError, match="over after 1 of 2 steps"):
        make_base(long, bench, tmp_path, deadline=time.time())
    assert not (tmp_path / BASE).exists()
    make_base(long, bench, tmp_path)
    assert (tmp_path / BASE).exists()
