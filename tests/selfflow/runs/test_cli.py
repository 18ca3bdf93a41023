import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from selfflow.runs.cli import Common, Group, common_options, json_option, print_result
from selfflow.runs.config import Config
from selfflow.runs.errors import DivergedError, UserError
from selfflow.runs.parameter import parameter
from selfflow.runs.run import Run


class Settings(Config):
    seed: int = 0
    device: str = "auto"
    size: int = 8
    rate: float = parameter(0.1, 0, 1, unit="", meaning="learning rate")


@click.group(cls=Group)
def program() -> None:
    pass


@program.command()
@common_options
@json_option
@click.option("--size", type=int)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out"))
def train(common: Common, as_json: bool, size: int | None, out: Path) -> None:
    config = common.configure(
        Settings, {"size": size}, {"cpu": {"size": 4}, "cuda": {"size": 64, "rate": 0.5}}
    )
    common.announce(config, ["about 3 minutes, 1 GB"])
    Run.open(out, "train", config)
    print_result(config.model_dump(), as_json)


@program.command()
@click.argument("what")
def fail(what: str) -> None:
    errors: dict[str, BaseException] = {
        "user": UserError("a file is\nnot a file"),
        "diverged": DivergedError("20 bad steps"),
        "write": PermissionError(13, "Permission denied", "some/place"),
        "full": OSError(28, "No space left on device"),
        "interrupt": KeyboardInterrupt(),
        "bug": RuntimeError("a bug"),
    }
    if what == "settings":
        Settings(size="x")  # type: ignore[arg-type]
    raise errors[what]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(program, arguments)

    return invoke


def test_flags_overrides_file_and_device_defaults_come_together(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.toml").write_text("rate = 0.2\nseed = 5")
    result = call("train", "--json", "--config", "a.toml", "--set", "rate=0.3", "--device", "cpu")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"seed": 5, "device": "cpu", "size": 4, "rate": 0.3}
    result = call("train", "--json", "--size", "3", "--seed", "9", "--out", "b")
    assert json.loads(result.stdout) == {"seed": 9, "device": "auto", "size": 3, "rate": 0.1}


def test_device_defaults_follow_the_device_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    defaults = {"cpu": {"size": 4}, "cuda": {"size": 64}}
    assert Common().configure(Settings, {}, defaults).size == 64
    (tmp_path / "a.toml").write_text('device = "cpu"')
    assert Common(config=tmp_path / "a.toml").configure(Settings, {}, defaults).size == 4
    assert Common(device="cpu").configure(Settings, {}, defaults).size == 4


def test_json_prints_only_the_result_on_standard_output(call) -> None:  # type: ignore[no-untyped-def]
    result = call("train", "--json")
    assert "about 3 minutes" in result.stderr
    json.loads(result.stdout)
    assert "about 3 minutes" not in result.stdout


def test_without_json_there_is_a_line_for_each_value(call) -> None:  # type: ignore[no-untyped-def]
    assert call("train").stdout.splitlines() == [
        "seed    0",
        "device  auto",
        "size    4",
        "rate    0.1",
    ]


def test_a_dry_run_shows_settings_and_estimate_and_writes_nothing(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = call("train", "--dry-run", "--set", "rate=0.3")
    assert result.exit_code == 0
    assert "rate = 0.3" in result.stdout
    assert "about 3 minutes" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("fail", "user"), 2, "Error: a file is not a file"),
        (("fail", "write"), 2, "Error: some/place: Permission denied"),
        (("fail", "full"), 2, "Error: No space left on device"),
        (("fail", "diverged"), 1, "Error: 20 bad steps"),
        (("fail", "settings"), 2, "Error: size = 'x': input should be a valid integer"),
        (("fail", "interrupt"), 130, "Interrupted."),
        (("train", "--set", "rte=1"), 2, "Error: --set: unknown key rte; did you mean rate?"),
        (("train", "--config", "no.toml"), 2, "Error: cannot read no.toml: No such file"),
        (("train", "--device", "cuda"), 2, "Error: there is no device cuda here"),
        (("train", "--out", "/dev/null/run"), 2, "Error: cannot write /dev/null/run"),
        (("train", "--seed", "-1"), 2, "Error: Invalid value for '--seed'"),
    ],
)
def test_an_error_is_one_line_and_a_status(call, arguments, status: int, line: str) -> None:  # type: ignore[no-untyped-def]
    result = call(*arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in result.output


def test_a_bug_is_not_hidden(call) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(call("fail", "bug").exception, RuntimeError)


def test_a_setting_that_decides_others_is_looked_up_early(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('method = "filed"\n')
    assert Common().early("method") is None
    assert Common(config=file).early("method") == "filed"
    assert Common(config=file).early("method", "flagged") == "flagged"
    overrides = ("method = 'first'", "seed=3", "method=last")
    assert Common(config=file, overrides=overrides).early("method", "flagged") == "last"
