import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfflow.runs.config import Config
from selfflow.runs.errors import DivergedError, UserError
from selfflow.runs.loop import LoopSettings, Result, Task, Wish, fit
from selfflow.runs.progress import Bar
from selfflow.runs.run import Run


class Settings(Config):
    seed: int = 0
    loop: LoopSettings = LoopSettings()


class Regression(Task[Tensor]):
    """A network with everything that a resume could forget: dropout, statistics, a target."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )
        self.target = nn.Linear(8, 1)
        self.modules = {"network": self.network, "target": self.target}
        self.poisoned: frozenset[int] = frozenset()
        self.seen: list[int] = []

    def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        self.seen.append(step)
        noise = float(np.random.rand())  # noqa: NPY002
        if step in self.poisoned:
            batch = batch * torch.nan
        loss = (self.network(batch) - batch.sum(1, keepdim=True) - noise).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            self.target.weight.lerp_(self.network[3].weight, 0.1)

    def pictures(self) -> dict[str, Tensor]:
        return {"grey": torch.full((3, 4, 4), 0.5)}

    def figures(self) -> dict[str, float]:
        return {"seen": len(self.seen)}

    def note(self) -> str:
        return f"{len(self.seen)} seen"


def batches(number: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


def optimizer_for(task: Regression) -> torch.optim.Optimizer:
    return torch.optim.AdamW(task.network.parameters())


def train(
    folder: Path | None, task: Regression | None = None, **settings: object
) -> tuple[Regression, Result]:
    task = task or Regression()
    config = Settings(loop=LoopSettings.model_validate(settings))
    run = Run.open(folder, "train", config) if folder else None
    np.random.seed(0)  # noqa: NPY002
    result = fit(
        task,
        batches,
        optimizer=optimizer_for(task),
        learning_rate=lambda step: 0.1 / (step + 1),
        settings=config.loop,
        run=run,
    )
    if run is not None:
        run.close()
    return task, result


def weights(task: Regression) -> list[Tensor]:
    return [
        *task.network.state_dict().values(),
        *task.target.state_dict().values(),
    ]


def assert_same(a: Regression, b: Regression) -> None:
    for x, y in zip(weights(a), weights(b), strict=True):
        assert torch.equal(x, y)


def test_a_group_of_parameters_may_have_a_rate_of_its_own() -> None:
    task = Regression()
    first, last = task.network[0].weight, task.network[3].weight
    before = first.detach().clone(), last.detach().clone()
    groups = [{"params": [first], "lr_scale": 0.0}, {"params": [last], "lr_scale": 2.0}]
    optimizer = torch.optim.SGD(groups)
    fit(
        task,
        batches,
        optimizer=optimizer,
        learning_rate=lambda step: 0.1,
        settings=LoopSettings(steps=2),
    )
    assert torch.equal(first, before[0])
    assert not torch.equal(last, before[1])
    assert optimizer.param_groups[1]["lr"] == 0.2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_runs_of_five_steps_equal_one_of_ten(tmp_path: Path, accumulate: int) -> None:
    whole, expected = train(tmp_path / "whole", steps=10, accumulate=accumulate)
    first, _ = train(tmp_path / "halves", steps=5, accumulate=accumulate)
    torch.manual_seed(123)  # another process would have other random states
    second, result = train(tmp_path / "halves", steps=10, accumulate=accumulate)
    assert_same(whole, second)
    assert not torch.equal(weights(first)[0], weights(second)[0])
    assert sorted(set(second.seen)) == [5, 6, 7, 8, 9]
    assert result.steps == expected.steps == 10
    assert result.seconds > 0


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    done, before = train(tmp_path, steps=3)
    again, after = train(tmp_path, steps=3)
    assert again.seen == []
    assert_same(done, again)
    assert after.means == before.means


@pytest.mark.parametrize("accumulate", [1, 3])
def test_prefetching_changes_nothing(accumulate: int) -> None:
    ahead, _ = train(None, steps=4, accumulate=accumulate, prefetch=True)
    inline, _ = train(None, steps=4, accumulate=accumulate, prefetch=False)
    assert_same(ahead, inline)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_averaged_two_runs_of_five_steps_equal_one_of_ten(tmp_path: Path, accumulate: int) -> None:
    options = {"accumulate": accumulate, "ema": 0.9}
    whole, _ = train(tmp_path / "whole", steps=10, **options)
    train(tmp_path / "halves", steps=5, **options)
    second, _ = train(tmp_path / "halves", steps=10, **options)
    assert_same(whole, second)
    again, _ = train(tmp_path / "halves", steps=10, **options)
    assert again.seen == []
    assert_same(whole, again)


def test_the_average_follows_its_formula_and_changes_nothing_else(tmp_path: Path) -> None:
    """A twin that keeps all weights and averages them in float64. One step is skipped."""
    plain, averaged = Regression(), Regression()
    course: list[list[Tensor]] = []

    def keep(task: Regression) -> list[Tensor]:
        return [p.detach().double().clone() for p in task.network.parameters()]

    expected, number = keep(plain), 0
    for task, ema in ((plain, 0.0), (averaged, 0.4)):
        task.poisoned = frozenset({3})
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        fit(
            task,
            batches,
            optimizer=optimizer_for(task),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=8, ema=ema),
            run=Run(tmp_path / str(ema)),
            watch=lambda steps, task=task: course.append(keep(task)),
        )
    for step, (one, other) in enumerate(zip(course[:8], course[8:], strict=True)):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))  # raw on the way
        if step == 3:
            continue
        number += 1
        decay = min(0.4, (1 + number) / (10 + number))
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, one, strict=True)]
    for parameter, value in zip(averaged.network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-6, atol=1e-7)
    assert not torch.equal(averaged.network[0].weight, plain.network[0].weight)
    state = Run(tmp_path / "0.4").load_checkpoint()
    assert state is not None
    for name, value in plain.network.state_dict().items():
        assert torch.equal(state["modules"]["network"][name], value)
    for buffer, value in zip(averaged.network.buffers(), plain.network.buffers(), strict=True):
        assert torch.equal(buffer, value)
    assert torch.equal(averaged.target.weight, plain.target.weight)


def test_a_checkpoint_of_another_effective_batch_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=1, accumulate=2)
    with pytest.raises(UserError, match=r"2 batches a step, now there are 3 \(1 processes\)"):
        train(tmp_path, steps=2, accumulate=3)


class Plain(Task[Tensor]):
    def __init__(self) -> None:
        torch.manual_seed(1)
        self.network = nn.Linear(4, 1)
        self.modules = {"network": self.network}

    def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        return {"loss": self.network(batch).square().mean()}


def test_a_step_is_what_a_plain_loop_does() -> None:
    """A twin without the loop: two batches averaged, clipped, plain gradient descent."""
    task, twin = Plain(), Plain()
    result = fit(
        task,
        batches,
        optimizer=torch.optim.SGD(task.network.parameters(), lr=1.0),
        learning_rate=lambda step: 0.5**step,
        settings=LoopSettings(steps=3, accumulate=2, clip=0.1, log_every=2),
    )
    losses = []
    for step in range(3):
        both = [twin.step(batches(2 * step + i), step)["loss"] for i in range(2)]
        loss = (both[0] + both[1]) / 2
        gradients = torch.autograd.grad(loss, list(twin.network.parameters()))
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > 0.1  # or clipping is not tested
        with torch.no_grad():
            for parameter, gradient in zip(twin.network.parameters(), gradients, strict=True):
                parameter -= 0.5**step * gradient * 0.1 / norm
        losses.append(loss.item())
    torch.testing.assert_close(task.network.weight, twin.network.weight)
    assert result.means["loss"] == pytest.approx(losses[2])  # the last window: step 3 alone


def test_no_clipping_with_zero() -> None:
    free, clipped = Plain(), Plain()
    for task, clip in ((free, 0.0), (clipped, 1e-3)):
        fit(
            task,
            batches,
            optimizer=torch.optim.SGD(task.network.parameters()),
            learning_rate=lambda step: 1.0,
            settings=LoopSettings(steps=1, clip=clip),
        )
    moved = [(t.network.weight - Plain().network.weight).norm() for t in (free, clipped)]
    assert moved[0] > 0.1
    assert moved[1] <= 1.001e-3


def test_bfloat16_runs_the_forward_pass_in_low_precision() -> None:
    seen = []

    class Watching(Plain):
        def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
            output = self.network(batch)
            seen.append(output.dtype)
            return {"loss": output.float().square().mean()}

    for precision in ("float32", "bfloat16"):
        task = Watching()
        fit(
            task,
            batches,
            optimizer=torch.optim.SGD(task.network.parameters()),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=1, precision=precision),
        )
        assert task.network.weight.dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]


def test_a_bad_step_leaves_no_trace() -> None:
    """Neither weights nor optimiser nor running statistics move where the loss is NaN."""
    poisoned = Regression()
    poisoned.poisoned = frozenset({2})
    task, result = train(None, poisoned, steps=3)
    two, _ = train(None, steps=2)
    assert_same(task, two)
    assert result.skipped == 1
    assert np.isfinite(result.means["loss"])


def test_many_bad_steps_in_a_row_end_the_training() -> None:
    task = Regression()
    task.poisoned = frozenset({0, 2, 3, 4, 5})
    with pytest.raises(DivergedError, match=r"3 steps without finite values, up to step 5$"):
        train(None, task, steps=10, max_bad_steps=3)
    assert task.seen == [0, 1, 2, 3, 4]


def checkpointed_steps(folder: Path) -> int:
    state = Run(folder).load_checkpoint()
    assert state is not None
    for values in (*state["modules"].values(), state["optimizer"]["state"][0]):
        assert all(value.isfinite().all() for value in values.values())
    return int(state["result"]["steps"])


def test_the_last_good_checkpoint_is_kept_and_named(tmp_path: Path) -> None:
    """Bad steps come where checkpoints are due, one of them alone, then three in a row."""
    task = Regression()
    task.poisoned = frozenset({1, 5, 6, 7})
    with pytest.raises(DivergedError, match=rf"after step 5, is {tmp_path}/checkpoint\.pt"):
        train(tmp_path, task, steps=10, max_bad_steps=3, save_every=1)
    assert checkpointed_steps(tmp_path) == 5
    with pytest.raises(DivergedError, match="there is no checkpoint yet"):
        train(tmp_path / "new", task, steps=10, max_bad_steps=1, save_every=2)


class Overflowing(Plain):
    """Its gradients stay finite and its weights do not: the update is too large for a number."""

    def step(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        return {"loss": self.network.weight.sum() * (1e15 if step == 2 else 1)}


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """The step that breaks the weights looks well, and it may be the last one."""
    for steps in (3, 10):
        task = Overflowing()
        with pytest.raises(DivergedError, match=r"after step 2, is .*checkpoint\.pt"):
            fit(
                task,
                batches,
                optimizer=torch.optim.SGD(task.network.parameters()),
                learning_rate=lambda step: 1e30 if step == 2 else 0.1,
                settings=LoopSettings(steps=steps, save_every=1, max_bad_steps=2, clip=0),
                run=Run(tmp_path / str(steps)),
            )
        assert not task.network.weight.isfinite().all()
        state = Run(tmp_path / str(steps)).load_checkpoint()
        assert state is not None
        assert state["result"]["steps"] == 2
        assert state["modules"]["network"]["weight"].isfinite().all()


def test_interrupted_it_saves_and_continues_exactly(tmp_path: Path) -> None:
    class Interrupted(Regression):
        def after_step(self, step: int) -> None:
            super().after_step(step)
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    whole, _ = train(tmp_path / "whole", steps=8)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", Interrupted(), steps=8)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest, _ = train(tmp_path / "stopped", steps=8)
    assert rest.seen == [4, 5, 6, 7]
    assert_same(whole, rest)


def test_the_budget_ends_the_training_and_counts_earlier_sessions(tmp_path: Path) -> None:
    _, result = train(tmp_path, steps=10**9, budget=0.05)
    assert result.budget_reached
    assert 0 < result.steps < 10**9
    again, second = train(tmp_path, steps=10**9, budget=0.05)
    assert again.seen == []
    assert second.steps == result.steps
    _, third = train(tmp_path, steps=result.steps + 1, budget=60)
    assert third.steps == result.steps + 1
    assert not third.budget_reached


def test_checkpoints_are_written_at_their_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(
        Run, "save_checkpoint", lambda self, state: saved.append(state["result"]["steps"])
    )
    train(tmp_path / "steps", steps=5, save_every=2)
    assert saved == [2, 4, 5]
    saved.clear()
    train(tmp_path / "time", steps=3, save_seconds=1e-9)
    assert saved == [1, 2, 3]


def test_events_hold_terms_figures_and_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    notes: list[str] = []
    monkeypatch.setattr(Bar, "advance", lambda bar, count=1, note="": notes.append(note))
    _, result = train(tmp_path, steps=4, log_every=2, pictures_every=4)
    assert result.figures == {"seen": 4}
    assert [note.partition(", ")[2] for note in notes] == ["1 seen", "2 seen", "3 seen", "4 seen"]
    assert train(tmp_path, steps=4)[1].figures == {"seen": 4}  # from the checkpoint
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert {
        "terms/loss",
        "terms/twice",
        "terms/gradient_norm",
        "loop/learning_rate",
        "loop/skipped",
        "loop/share_of_time_waiting",
    } <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("terms/loss")] == [2, 4]
    assert [e.value for e in events.Scalars("figures/seen")] == [2, 4]
    rates = [e.value for e in events.Scalars("loop/learning_rate")]
    assert rates == pytest.approx([0.1 / 2, 0.1 / 4])
    assert events.Tags()["images"] == ["grey"]


def test_a_checkpoint_of_something_else_is_a_user_error(tmp_path: Path) -> None:
    train(tmp_path, steps=1)
    task = Plain()
    with pytest.raises(UserError, match=r"checkpoint\.pt does not fit"):
        fit(
            task,
            batches,
            optimizer=torch.optim.SGD(task.network.parameters()),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=2),
            run=Run(tmp_path),
        )


def test_an_error_while_making_a_batch_comes_through() -> None:
    def broken(number: int) -> Tensor:
        if number == 2:
            raise UserError("frame 2 is missing")
        return batches(number)

    task = Plain()
    with pytest.raises(UserError, match="frame 2 is missing"):
        fit(
            task,
            broken,
            optimizer=torch.optim.SGD(task.network.parameters()),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=5),
        )


def test_watching_can_end_the_training() -> None:
    class Pruned(Exception):
        pass

    def watch(steps: int) -> None:
        if steps == 3:
            raise Pruned

    task = Plain()
    with pytest.raises(Pruned):
        fit(
            task,
            batches,
            optimizer=torch.optim.SGD(task.network.parameters()),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=5),
            watch=watch,
        )


def watched(run: Run, wishes: dict[int, Wish], steps: int = 6) -> tuple[Regression, Result]:
    task = Regression()
    np.random.seed(0)  # noqa: NPY002
    result = fit(
        task,
        batches,
        optimizer=optimizer_for(task),
        learning_rate=lambda step: 0.1 / (step + 1),
        settings=LoopSettings(steps=steps, log_every=1),
        run=run,
        watch=wishes.get,
    )
    return task, result


def test_watching_can_stop_a_training_that_then_goes_on_exactly(tmp_path: Path) -> None:
    whole, _ = watched(Run(tmp_path / "whole"), {})
    run = Run(tmp_path / "parts")
    _, first = watched(run, {4: Wish.STOP})
    assert (first.steps, first.budget_reached) == (4, True)
    second, result = watched(run, {})
    assert (result.steps, result.budget_reached) == (6, False)
    assert second.seen == [4, 5]
    assert_same(whole, second)


def test_watching_can_ask_for_a_checkpoint(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    run = Run(tmp_path, events=False)
    task = Regression()

    def watch(steps: int) -> Wish | None:
        if steps == 4:
            raise Killed
        return Wish.CHECKPOINT if steps == 2 else None

    with pytest.raises(Killed):
        fit(
            task,
            batches,
            optimizer=optimizer_for(task),
            learning_rate=lambda step: 0.1,
            settings=LoopSettings(steps=6, log_every=1),
            run=run,
            watch=watch,
        )
    state = run.load_checkpoint()
    assert state is not None
    assert state["result"]["steps"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]  # and no events


def test_settings_describe_the_effective_batch() -> None:
    settings = LoopSettings(steps=7, accumulate=4, budget="2h")
    assert settings.describe(8) == "7 steps, batch 4 x 8 = 32, float32, at most 2h 00m"
    assert LoopSettings(steps=7).describe(8) == "7 steps, batch 8, float32"
