"""Two processes on the CPU, against one that does the work of both."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from selfflow.runs.cli import Common, Group, common_options, distributed
from selfflow.runs.config import Config
from selfflow.runs.distributed import (
    all_reduce_sum,
    average_gradients,
    copy_from_first,
    from_first,
    gather,
    largest,
    launched,
    mean_scalars,
    process_group,
    rank,
    together,
    world_size,
)
from selfflow.runs.errors import SharedError, UserError
from selfflow.runs.loop import LoopSettings, Result, Task, fit
from selfflow.runs.progress import console
from selfflow.runs.run import Run
from selfflow.runs.store import save_model

Processes = Callable[..., list[int | None]]


class Settings(Config):
    seed: int = 0
    loop: LoopSettings = LoopSettings()


class Plain(Task[Tensor]):
    def __init__(self, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 1))
        self.frozen = nn.Linear(4, 1)
        self.modules = {"network": self.network, "frozen": self.frozen}
        self.poisoned: frozenset[int] = frozenset()
        self.interrupted: frozenset[int] = frozenset()

    def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        if step in self.interrupted:
            self.interrupted = frozenset()
            os.kill(os.getpid(), signal.SIGINT)
        if step in self.poisoned:
            batch = batch * torch.nan
        return {"loss": (self.network(batch) - batch.sum(1, keepdim=True)).square().mean()}


def batches(number: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


def train(task: Plain, folder: Path | None = None, **settings: object) -> Result:
    config = Settings(loop=LoopSettings.model_validate({"log_every": 100, **settings}))
    run = None if folder is None else Run.open(folder, "train", config)
    result = fit(
        task,
        batches,
        optimizer=torch.optim.Adam([*task.network.parameters(), *task.frozen.parameters()]),
        learning_rate=lambda step: 0.1,
        settings=config.loop,
        run=run,
    )
    if run is not None:
        run.write_json("results.json", {"rank": rank()})
        run.close()
    return result


def state(task: Plain) -> dict[str, Tensor]:
    return {**task.network.state_dict(), "frozen": task.frozen.weight.detach()}


def exchange(environment: dict[str, str], folder: Path) -> None:
    os.environ.update(environment)
    with process_group():
        number = int(environment["RANK"])
        assert (rank(), world_size()) == (number, 2)
        assert console.quiet == (number == 1)
        assert all_reduce_sum(torch.tensor([1.0, number])).tolist() == [2, 1]
        assert largest(number, -number) == [1, 0]
        means = mean_scalars({"a": torch.tensor(3.0), "b": torch.tensor(float(number))})
        assert {name: float(value) for name, value in means.items()} == {"a": 3, "b": 0.5}
        memory = torch.full((1, 2, 3, 4), float(number)).to(memory_format=torch.channels_last)
        copy_from_first([memory])
        assert (memory == 0).all()
        assert memory.is_contiguous(memory_format=torch.channels_last)
        assert from_first(lambda: f"process {number}") == "process 0"
        with pytest.raises(SharedError, match="only process 0 says so"):
            from_first(lambda: fail(number))
        assert together(lambda: number) == number
        with pytest.raises(SharedError, match=r"^process 1: only process 1 says so"):
            together(lambda: fail(number) if number else None)
        with pytest.raises(SharedError, match=r"^only process 0 says so"):
            together(lambda: fail(number))
        with pytest.raises(SharedError if number else KeyError, match="a bug"):
            together(lambda: number or {}["a bug"])
        part = torch.full((1, 2), float(number + 1), requires_grad=True)
        whole = gather(part)
        assert whole.tolist() == [[1, 1], [2, 2]]
        ((number + 1) * (whole * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum()).backward()
        assert part.grad is not None
        assert part.grad.tolist() == [[3 * (2 * number + 1), 3 * (2 * number + 2)]]
        print(number)
        save_model(folder / "one", {"weight": torch.tensor([float(number)])}, {})
    assert not console.quiet
    assert world_size() == 1
    (folder / str(number)).touch()


def lose(environment: dict[str, str]) -> None:
    """Wait, in process 1, for process 0, which has gone."""
    os.environ.update(environment)

    def wait() -> None:
        with process_group():
            all_reduce_sum(torch.ones(1))  # both have joined
            if rank() == 0:
                os._exit(3)
            all_reduce_sum(torch.ones(1))

    with pytest.raises(UserError, match="another process has ended"):
        wait()


def fail(number: int) -> None:
    raise UserError(f"only process {number} says so")


def work(environment: dict[str, str], folder: Path) -> None:
    """Train as one of two; process 0 has the weights, process 1 is disturbed now and then."""
    os.environ.update(environment)
    with process_group():
        task = Plain(seed=1 + rank())
        result = train(task, folder / "run", steps=6, accumulate=2, ema=0.5)
        torch.save((state(task), result.means["loss"]), folder / f"whole{rank()}.pt")

        bad = Plain()
        bad.poisoned = frozenset({1} if rank() else ())
        result = train(bad, steps=3, accumulate=2)
        torch.save((state(bad), result.skipped), folder / f"bad{rank()}.pt")

        stopped = Plain()
        stopped.interrupted = frozenset({2} if rank() else ())
        with pytest.raises(KeyboardInterrupt):
            train(stopped, folder / "stopped", steps=6, accumulate=2, ema=0.5)
        all_reduce_sum(torch.ones(1))  # process 0 has written it
        checkpoint = Run(folder / "stopped").load_checkpoint()
        assert checkpoint is not None
        assert checkpoint["result"]["steps"] == 3
        again = Plain(seed=7)
        train(again, folder / "stopped", steps=6, accumulate=2, ema=0.5)
        torch.save((state(again), 0), folder / f"stopped{rank()}.pt")


def read(path: Path) -> tuple[dict[str, Tensor], float]:
    found: tuple[dict[str, Tensor], float] = torch.load(path, weights_only=True)
    return found


def test_alone_nothing_is_exchanged() -> None:
    assert (rank(), world_size(), launched()) == (0, 1, False)
    with process_group():
        assert world_size() == 1
    value = torch.tensor(2.0, requires_grad=True)
    assert all_reduce_sum(value) == 2
    assert not all_reduce_sum(value).requires_grad
    value.grad = torch.tensor(3.0)
    average_gradients([value])
    assert value.grad == 3
    assert largest(3, False) == [3, 0]
    assert mean_scalars({"loss": value}) == {"loss": value}
    assert from_first(lambda: 5) == 5
    assert together(lambda: 6) == 6
    with pytest.raises(UserError, match="process 7"):
        together(lambda: fail(7))
    assert gather(value) is value


def test_what_processes_tell_each_other(processes: Processes, tmp_path: Path) -> None:
    assert processes(exchange, tmp_path) == [0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "one.safetensors"}


def test_a_process_that_ends_early_does_not_keep_the_others_waiting(processes: Processes) -> None:
    assert processes(lose) == [3, 0]


def test_two_processes_equal_one_with_twice_the_batches(
    processes: Processes, tmp_path: Path
) -> None:
    """And they agree when one meets a NaN, or is asked to stop, and when they go on from that."""
    assert processes(work, tmp_path) == [0, 0]
    for name in ("whole", "bad", "stopped"):
        first, second = (read(tmp_path / f"{name}{number}.pt") for number in (0, 1))
        assert all(torch.equal(first[0][key], second[0][key]) for key in first[0])
        assert first[1] == second[1]
    alone = Plain()
    result = train(alone, steps=6, accumulate=4, ema=0.5)
    weights, loss = read(tmp_path / "whole0.pt")
    torch.testing.assert_close(weights, state(alone))
    assert loss == pytest.approx(result.means["loss"], rel=1e-6)
    continued, _ = read(tmp_path / "stopped0.pt")
    assert all(torch.equal(continued[key], weights[key]) for key in weights)
    assert read(tmp_path / "bad0.pt")[1] == 1
    assert (tmp_path / "run" / "results.json").read_text() == '{\n  "rank": 0\n}\n'

    # Half of the processes, twice as many batches each: the run goes on where it was.
    train(Plain(), tmp_path / "run", steps=7, accumulate=4, ema=0.5)


def test_commands_that_do_not_train_refuse_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.group(cls=Group)
    def main() -> None:
        """Do nothing."""

    @main.command()
    @common_options
    def look(common: Common) -> None:
        """Do nothing."""

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    result = CliRunner().invoke(main, ["look"])
    assert result.exit_code == 2
    assert "torchrun is for the commands that train" in result.output


def test_a_distributed_command_keeps_its_options() -> None:
    @click.group(cls=Group)
    def main() -> None:
        """Do nothing."""

    @main.command()
    @distributed
    @click.option("--name")
    @common_options
    def learn(common: Common, name: str) -> None:
        """Learn."""
        click.echo(f"{name} {common.seed}")

    result = CliRunner().invoke(main, ["learn", "--name", "x", "--seed", "3"])
    assert result.output == "x 3\n"
