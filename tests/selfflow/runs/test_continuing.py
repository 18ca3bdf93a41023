"""A run that is continued with other settings: the error names what continues it."""

import shlex
from pathlib import Path

import pytest
from pydantic import Field

from selfflow.runs.config import Config, flatten, load, to_toml
from selfflow.runs.continuing import check_settings
from selfflow.runs.errors import UserError


class Loop(Config):
    steps: int = 10
    rate: float = Field(0.1, gt=0)


class Settings(Config):
    target: str = "davis"
    size: tuple[int, int] = (96, 128)
    side: int | None = None
    loop: Loop = Loop()


class Upgraded(Settings):
    """The same settings in a later version."""

    size: tuple[int, int] = (128, 160)
    side: int | None = 240
    loop: Loop = Loop(rate=0.2)


def error(tmp_path: Path, was: Config, now: Config, prefix: str = "") -> str:
    (tmp_path / "config.toml").write_text(to_toml(was))
    with pytest.raises(UserError) as caught:
        check_settings(tmp_path, now, {"steps"}, prefix)
    return str(caught.value)


def named(message: str, prefix: str = "") -> list[str]:
    """The options that a message names, as a shell would pass them."""
    words = shlex.split(message.partition("add ")[2].partition(", or choose")[0])
    assert words[::2] == ["--set"] * (len(words) // 2)
    return [word.removeprefix(prefix) for word in words[1::2]]


def test_the_same_settings_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(to_toml(Settings()))
    check_settings(tmp_path, Settings(loop=Loop(steps=20)), {"steps"})
    check_settings(tmp_path, Settings(loop=Loop(steps=20, rate=0.3)), {"loop"})


def test_defaults_that_changed_with_the_code_are_named_as_options_that_continue(
    tmp_path: Path,
) -> None:
    message = error(tmp_path, Settings(), Upgraded())
    assert f"{tmp_path} was started with size = [96, 128], now it is [128, 160]" in message
    assert "(and 2 more of its settings)" in message
    assert named(message) == ["size=[96, 128]", "side=", "loop.rate=0.1"]
    continued = load(Upgraded, overrides=named(message))
    assert flatten(continued) == flatten(Settings())
    check_settings(tmp_path, continued, {"steps"})


@pytest.mark.parametrize("text", ["kitti", "true", "a b", "1", "x = 'y'", 'say "hello"', "", "é"])
def test_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    message = error(tmp_path, Settings(target=text), Settings())
    assert "\n" not in message
    assert load(Settings, overrides=named(message)).target == text


def test_in_a_chain_keys_have_their_stages_number(tmp_path: Path) -> None:
    message = error(tmp_path, Settings(), Settings(target="kitti"), "2.")
    assert "2.target = davis" in message
    assert named(message) == ["2.target=davis"]
    assert load(Settings, overrides=named(message, "2.")) == Settings()


class Renamed(Config):
    goal: str = "davis"


class Required(Settings):
    guard: int = 500


def test_what_no_option_brings_back_is_said(tmp_path: Path) -> None:
    for was, now, reason in (
        (Settings(), Renamed(), "unknown key target"),
        (Settings(), Required(), "guard = None: input should be a valid integer"),
    ):
        message = error(tmp_path, was, now)
        assert "--set" not in message
        assert f"it cannot be continued ({reason}" in message
        assert message.endswith("choose another --out")
