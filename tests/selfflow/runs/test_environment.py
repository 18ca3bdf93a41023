import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfflow.runs import environment as module
from selfflow.runs.environment import command, commit, environment


@pytest.mark.parametrize(
    "program", ["/usr/bin/selfflow", "/src/selfflow/__main__.py", "selfflow/__main__.py"]
)
def test_a_command_is_said_as_it_is_typed_also_by_python_m(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "--target", "my film"])
    assert command() == ["selfflow", "train", "--target", "my film"]
    assert environment("train", 3)["command"] == command()


def test_the_commit_is_that_of_the_codes_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    place = tmp_path / "selfflow" / "runs" / "environment.py"
    place.parent.mkdir(parents=True)
    place.write_text("one")
    monkeypatch.setattr(module, "__file__", str(place))
    assert commit() is None
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*call, *arguments], check=True)
    head = commit()
    assert head is not None
    assert re.fullmatch("[0-9a-f]{40}", head)
    place.write_text("two")
    assert commit() == f"{head}+"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("postgresql://me:secret@host:1/db", "postgresql://me@host:1/db"),
        ("--storage=mysql+pymysql://me:se/c:ret@host/db", "--storage=mysql+pymysql://me@host/db"),
        ("postgresql://host/db?password=secret&a=b", "postgresql://host/db?password=&a=b"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("rtsp://camera:554/film", "rtsp://camera:554/film"),
        ("C:my@film", "C:my@film"),
    ],
)
def test_a_command_is_kept_without_passwords(
    typed: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["selfflow", "train", typed])
    assert command() == ["selfflow", "train", kept]
