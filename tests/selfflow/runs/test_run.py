import json
import os
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.run import (
    Run,
    atomic_write,
    check_run,
    default_run_path,
    home,
    read_json,
    read_table,
    to_json,
)


class Loop(Config):
    steps: int = 10
    rate: float = 0.1


class Settings(Config):
    seed: int = 7
    target: str | None = None
    loop: Loop = Loop()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_run_says_what_it_is_and_what_it_ran_on(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    Run.open(path, "train", Settings())
    assert names(path) == ["config.toml", "environment.json"]
    assert tomllib.loads((path / "config.toml").read_text())["loop"] == {"steps": 10, "rate": 0.1}
    environment = json.loads((path / "environment.json").read_text())
    assert environment["kind"] == "train"
    assert environment["seed"] == 7
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["versions"]["selfflow"]
    assert environment["versions"]["python"].startswith("3.")
    time.strptime(environment["started"], "%Y-%m-%dT%H:%M:%S%z")


def test_a_folder_can_be_checked_without_being_touched(tmp_path: Path) -> None:
    path = tmp_path / "run"
    check_run(path, "train", Settings())
    assert not path.exists()
    Run.open(path, "train", Settings())
    before = [(each, each.read_text()) for each in path.iterdir()]
    check_run(path, "train", Settings())
    check_run(path, "train", Settings(seed=8), may_differ={"seed"})
    with pytest.raises(UserError, match="seed = 7, now it is 8"):
        check_run(path, "train", Settings(seed=8))
    with pytest.raises(UserError, match="holds a train run, not a search run"):
        check_run(path, "search", Settings())
    assert [(each, each.read_text()) for each in path.iterdir()] == before
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UserError, match="neither empty nor a run"):
        check_run(tmp_path, "train", Settings())


def test_the_same_configuration_continues(tmp_path: Path) -> None:
    first = Run.open(tmp_path, "train", Settings())
    first.save_checkpoint({"step": 3, "weights": {"w": torch.ones(2)}})
    longer = Settings(loop=Loop(steps=20))
    second = Run.open(tmp_path, "train", longer)
    checkpoint = second.load_checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] == 3
    assert torch.equal(checkpoint["weights"]["w"], torch.ones(2))
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert len(environment["continued"]) == 1
    assert tomllib.loads((tmp_path / "config.toml").read_text())["loop"]["steps"] == 20


def test_another_configuration_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    Run.open(tmp_path, "train", Settings())
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    for other, message in (
        (Settings(loop=Loop(rate=0.2)), r"loop\.rate = 0\.1, now it is 0\.2"),
        (Settings(target="davis"), "target = not set, now it is davis"),
    ):
        with pytest.raises(UserError, match=message):
            Run.open(tmp_path, "train", other)
    with pytest.raises(UserError, match="holds a train run, not a search run"):
        Run.open(tmp_path, "search", Settings())
    Run.open(tmp_path / "b", "train", Settings(target="davis"))
    with pytest.raises(UserError, match="target = davis, now it is not set"):
        Run.open(tmp_path / "b", "train", Settings())
    with pytest.raises(UserError, match=r"loop\.steps"):
        Run.open(tmp_path, "train", Settings(loop=Loop(steps=1)), may_differ=set())
    (tmp_path / "b").rename(tmp_path.parent / f"{tmp_path.name}-b")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UserError, match="neither empty nor a run"):
        Run.open(tmp_path, "train", Settings())
    with pytest.raises(UserError, match=r"holiday\.jpg"):
        Run.open(tmp_path / "holiday.jpg", "train", Settings())
    assert names(tmp_path) == ["holiday.jpg"]


def test_a_run_that_was_killed_while_being_made_can_be_made(tmp_path: Path) -> None:
    Run.open(tmp_path, "train", Settings())
    (tmp_path / "environment.json").unlink()
    Run.open(tmp_path, "train", Settings())
    assert names(tmp_path) == ["config.toml", "environment.json"]


@pytest.mark.parametrize("content", ["{", "[]", "\0"])
def test_a_broken_description_is_a_user_error(tmp_path: Path, content: str) -> None:
    Run.open(tmp_path, "train", Settings())
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(UserError, match=r"environment\.json"):
        Run.open(tmp_path, "train", Settings())


def test_a_path_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/run"):
        Run.open(tmp_path / "file" / "run", "train", Settings())
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_user_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        Run.open(tmp_path / "run", "train", Settings())


def test_there_is_no_checkpoint_at_first(tmp_path: Path) -> None:
    assert Run.open(tmp_path, "train", Settings()).load_checkpoint() is None


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_broken_checkpoint_is_a_user_error(tmp_path: Path, damage: str) -> None:
    run = Run.open(tmp_path, "train", Settings())
    run.save_checkpoint({"w": torch.ones(1000)})
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    content = {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a checkpoint"}[damage]
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt is not a readable checkpoint"):
        run.load_checkpoint()


class Killed(BaseException):
    """What ^C or an exit is to a block that writes."""


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("false",))


def test_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "train", Settings())
    torch.save({"w": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        run.load_checkpoint()


def test_atomic_write_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    with suppress(Killed), atomic_write(path) as temporary:
        temporary.write_text("ne")
        raise Killed
    assert path.read_text() == "old"
    assert names(path.parent) == ["a.txt"]


def test_atomic_write_makes_folders_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with suppress(Killed), atomic_write(path) as temporary:
        temporary.mkdir()
        (temporary / "one").touch()
        raise Killed
    assert names(tmp_path) == []
    with atomic_write(path) as temporary:
        temporary.mkdir()
        (temporary / "one").touch()
    assert names(path) == ["one"]


def test_json_is_json_whatever_the_values(tmp_path: Path) -> None:
    obj = {
        "path": Path("a/b"),
        "tensor": torch.tensor([1.0, 2.0]),
        "number": np.float32(0.5),
        "bad": [float("nan"), float("inf"), 1.5],
        3: (True, None, "é"),
    }
    text = to_json(obj)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "path": "a/b",
        "tensor": [1.0, 2.0],
        "number": 0.5,
        "bad": [None, None, 1.5],
        "3": [True, None, "é"],
    }
    run = Run.open(tmp_path, "train", Settings())
    run.write_json("results.json", obj)
    assert (tmp_path / "results.json").read_text() == text + "\n"
    assert read_json(tmp_path / "results.json") == json.loads(text)
    assert read_table(tmp_path / "results.json") == json.loads(text)


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_a_bad_json_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"before\.json"):
        read_table(path)


def test_a_run_knows_whether_it_has_a_checkpoint(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "train", Settings())
    assert not run.has_checkpoint()
    run.save_checkpoint({})
    assert run.has_checkpoint()


def test_runs_lie_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFFLOW_HOME", raising=False)
    assert home() == Path("runs")
    monkeypatch.setenv("SELFFLOW_HOME", "/somewhere")
    assert default_run_path("search", "s-af") == Path("/somewhere/search/s-af")


def test_events_of_a_repeated_step_replace_the_lost_ones(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Run.open(tmp_path, "train", Settings()) as run:
        for step in (1, 2, 3):
            run.writer.add_scalar("loss", step, step)
    with Run.open(tmp_path, "train", Settings()) as run:
        run.first_step = 2
        for step in (2, 3):
            run.writer.add_scalar("loss", 10 * step, step)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1), (2, 20), (3, 30)]
