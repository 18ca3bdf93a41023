"""`autoflow train --chain` as a person uses it: real, tiny runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from autoflow.cli import main
from selfflow.models import NETWORK, load_network, save
from selfflow.raft import RAFT, raft_small
from selfflow.runs.run import Run
from selfflow.training import Training

CHAIN = """
[[stages]]
stage = "scenes"
name = "first"
training.architecture = "raft-small"
training.optimisation = { crop = [32, 32], batch_size = 1, iterations = 1, loop = { steps = 2 } }
training.head_start.matching_steps = 0

[[stages]]
recipe = "small.toml"
name = "second"
"""
SCENES = CHAIN.partition("[[stages]]\nrecipe")[0]
RECIPE = """
stage = "self-supervised"
crop = [48, 48]
margin = [4, 4]
batch_size = 1
held_out = 1
pairs = 6
short_side = 64
losses.iterations = 1
loop.steps = 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a chain of two stages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFFLOW_HOME", "home")
    Path("chain.toml").write_text(CHAIN)
    Path("small.toml").write_text(RECIPE)
    return tmp_path


def call(*arguments: object, expect: int = 0) -> Result:
    result = CliRunner().invoke(
        main, ["train", "--chain", "chain.toml", "--device", "cpu", *map(str, arguments)]
    )
    assert result.exit_code == expect, result.output
    assert "Traceback" not in result.stderr
    return result


def same(one: RAFT, other: RAFT) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_each_stage_starts_from_the_network_before_and_a_complete_one_is_left_alone(
    place: Path,
) -> None:
    result = json.loads(call("--target", "sample", "--json").stdout)
    assert result["networks"] == "first, second"
    run = place / "home" / "train" / "chain"
    assert 'init = "first"' in (run / "2-self-supervised" / "config.toml").read_text()
    first, second = (load_network(name) for name in ("first", "second"))
    assert second[1]["init"] == "first"
    assert second[1]["target"] == first[1]["target"] == "sample"
    assert not same(first[0], second[0])
    assert same(second[0], load_network(run / "2-self-supervised" / NETWORK)[0])

    stored = place / "home" / "models" / "first.safetensors"
    before = stored.stat().st_mtime_ns
    again = call("--target", "sample", "--set", "2.loop.steps=3")
    assert "is complete" in again.stderr
    assert stored.stat().st_mtime_ns == before
    assert load_network("second")[1]["steps"] == 3


def test_a_stage_starts_from_the_runs_own_network_whatever_was_stored_since(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place / "home" / "train" / "chain"

    def killed(self: Training, run: Run) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "run", killed)
    call("--target", "sample", expect=130)
    own = load_network(run / "1-scenes" / NETWORK)[0]
    assert same(own, load_network("first")[0])
    torch.manual_seed(0)
    save("first", raft_small(), {"target": "elsewhere"})

    refused = call("--target", "sample", "--set", "1.seed=3", expect=2).stderr
    assert "1.seed = 0, now it is 3; to continue it add --set 1.seed=0" in refused

    started = []
    monkeypatch.setattr(Training, "run", lambda self, run: started.append(self) or {"steps": 2})
    assert "is complete" in call("--target", "sample").stderr
    assert same(started[0].network, own)
    assert not same(started[0].network, load_network("first")[0])
    assert (started[0].config.init, started[0].config.target) == ("first", "sample")

    (run / "1-scenes" / NETWORK).unlink()
    assert "is complete" not in call("--target", "sample").stderr
    assert same(load_network(run / "1-scenes" / NETWORK)[0], own)
    assert same(started[1].network, own)


def test_the_target_of_a_network_to_be_made_is_not_asked_of_the_store(place: Path) -> None:
    save("first", raft_small(), {"target": "sample"})
    result = call("--dry-run", expect=2)
    assert "--target is needed: first is not made for one" in result.stderr


def test_a_stage_may_name_another_network_and_another_target(place: Path) -> None:
    save("mine", raft_small(), {})
    own = 'init = "mine"\ntarget = "sample"\n'
    Path("chain.toml").write_text(CHAIN.replace('name = "first"', 'target = "davis"') + own)
    shown = call("--dry-run").stdout.partition("# stage 2")[2]
    assert own.splitlines()[0] in shown
    assert own.splitlines()[1] in shown


def test_a_chain_may_start_with_any_stage(place: Path) -> None:
    Path("chain.toml").write_text('[[stages]]\nrecipe = "small.toml"\nname = "only"\n')
    torch.manual_seed(0)
    save("mine", raft_small(), {"target": "sample"})
    call("--init", "mine")
    assert load_network("only")[1]["init"] == "mine"


def test_hyperparameters_are_for_all_stages_on_scenes(place: Path) -> None:
    Path("chain.toml").write_text(SCENES + SCENES.replace("first", "second"))
    Path("mine.toml").write_text("[foreground]\nacceleration = 0.3\n")
    shown = call("--hyperparameters", "mine.toml", "--dry-run").stdout
    assert shown.count('hyperparameters = "mine.toml"') == 2
    assert 'init = "first"' in shown


def test_a_dry_run_shows_every_stage_and_writes_nothing(place: Path) -> None:
    shown = call("--target", "sample", "--dry-run").stdout
    assert "# stage 1: scenes" in shown
    assert "# stage 2: self-supervised" in shown
    assert not (place / "home").exists()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("scenes", "sceens"), (), "no stage 'sceens'"),
        (("small.toml", "none.toml"), (), "cannot read none.toml"),
        (('"second"', '"first"'), (), "would replace the network"),
        ((CHAIN, "name = 1"), (), "is no chain"),
        ((CHAIN, "stages = []"), (), "is no chain"),
        ((CHAIN, "stages = [1]"), (), "is no chain"),
        (("", ""), ("--set", "loop.steps=3"), "say N.key=value"),
        (("", ""), ("--set", "3.loop.steps=3"), "1 to 2"),
        (("", ""), ("--steps", "3"), "not for a chain"),
        ((CHAIN, '[[stages]]\nname = "a"\ninit = "default-small"'), ("--top", "3"), "has none"),
        (("name =", "nmae ="), (), "nmae"),
        (("", ""), ("--target", "nowhere"), "nowhere"),
        ((CHAIN, SCENES + SCENES.replace("raft-small", "raft-large")), (), "is a raft-small"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    place: Path, change: tuple[str, str], arguments: tuple[str, ...], message: str
) -> None:
    Path("chain.toml").write_text(CHAIN.replace(*change))
    target = () if "--target" in arguments else ("--target", "sample")
    result = call(*arguments, *target, expect=2)
    assert message in result.stderr.strip().splitlines()[-1]
    assert not (place / "home").exists()
