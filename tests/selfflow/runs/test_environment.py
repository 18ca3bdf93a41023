import sys

import pytest

from selfflow.runs.environment import command, environment


@pytest.mark.parametrize(
    "program", ["/usr/bin/selfflow", "/src/selfflow/__main__.py", "selfflow/__main__.py"]
)
def test_a_command_is_said_as_it_is_typed_also_by_python_m(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "--target", "my film"])
    assert command() == ["selfflow", "train", "--target", "my film"]
    assert environment("train", 3)["command"] == command()
