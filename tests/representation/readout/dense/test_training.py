from pathlib import Path

import pytest
import torch

from representation.readout.dense.batches import Batches
from representation.readout.dense.classes import Classes
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.folders import read_folder
from representation.readout.dense.heads import Heads
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.training import new_heads, schedule, steps, train_heads
from selfflow.runs.run import Run

RATES = (0.05, 0.2, 1.0)


class Bench:
    """Trains on colours."""

    def __init__(self, folder: Path, make_folder, colors, **training) -> None:
        self.data = read_folder(make_folder(folder / "data"))
        self.folder, self.colors = folder, colors
        self.training = {"batch_size": 3, "pixels": 40, "learning_rates": RATES, **training}

    def __call__(
        self, rates: tuple[float, ...], name: str, count: int = 8, *, kept: bool = True
    ) -> Heads:
        encoder, target = self.colors(2), Classes(self.data)
        features = Features(encoder, None, self.folder / "features") if kept else None
        settings = DenseSettings(
            encoder="colors",
            data="here",
            protocol="linear",
            training={**self.training, "learning_rates": rates},
            loop={"steps": count, "save_every": 3, "prefetch": False, "clip": 0.0},
        )
        run = Run(self.folder / name, events=False)
        batches = Batches(self.data.parts["train"], target, settings, features)
        self.encoder = encoder
        return train_heads(encoder, target, batches, settings, rates, run, "Training")[0]


@pytest.fixture
def bench(tmp_path: Path, make_folder, colors) -> Bench:
    return Bench(tmp_path, make_folder, colors)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_heads_of_a_sweep_equal_heads_that_are_trained_alone(
    tmp_path, make_folder, colors, optimizer
) -> None:
    bench = Bench(tmp_path, make_folder, colors, optimizer=optimizer, weight_decay=0.01)
    together = bench(RATES, "together")
    for number, rate in enumerate(RATES):
        alone = bench((rate,), f"alone-{rate}")
        torch.testing.assert_close(
            together.heads[number].state_dict(), alone.heads[0].state_dict(), rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(together.norm.state_dict(), alone.norm.state_dict())
    weights = [head.weight for head in together.heads]
    assert (weights[0] - weights[1]).abs().max() > 0.01


def test_a_training_that_was_stopped_goes_on_to_the_same_heads(bench, monkeypatch) -> None:
    whole = bench(RATES, "whole").state_dict()
    calls = Classes.loss

    def stop(self, outputs, labels):  # in the sixth step, after the checkpoint of the third
        stop.count += 1  # type: ignore[attr-defined]
        if stop.count > 5 * len(RATES):  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return calls(self, outputs, labels)

    stop.count = 0  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(Classes, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            bench(RATES, "stopped")
    found = bench(RATES, "stopped").state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.items())


def test_kept_features_train_what_computed_ones_train_but_for_rounding(bench) -> None:
    kept, computed = bench(RATES, "kept"), bench(RATES, "computed", kept=False)
    torch.testing.assert_close(kept.state_dict(), computed.state_dict(), rtol=0.02, atol=0.02)


def test_the_encoder_learns_only_in_fine_tuning(tmp_path, make_folder, colors) -> None:
    bench = Bench(tmp_path, make_folder, colors)
    first = colors(2).state_dict()
    bench((0.1,), "frozen", kept=False)
    torch.testing.assert_close(bench.encoder.state_dict(), first, rtol=0, atol=0)
    bench = Bench(tmp_path, make_folder, colors, finetune=True)
    bench((0.1,), "finetuned", kept=False)
    assert not torch.equal(bench.encoder.mix.weight, first["mix.weight"])
    assert not bench.encoder.training


def test_heads_of_a_sweep_start_from_the_same_weights_which_the_seed_decides(colors) -> None:
    class Three:
        outputs = 3

    def made(seed: int, count: int) -> Heads:
        settings = DenseSettings(encoder="colors", data="here", protocol="linear", seed=seed)
        return new_heads(colors(2), Three(), settings, count)  # type: ignore[arg-type]

    heads = made(0, 3).heads
    assert torch.equal(heads[0].weight, heads[2].weight)
    assert heads[0].weight is not heads[2].weight
    assert torch.equal(made(0, 1).heads[0].weight, heads[0].weight)
    assert not torch.equal(made(1, 1).heads[0].weight, heads[0].weight)


def test_schedules_fall_as_they_say() -> None:
    assert schedule("poly", 0, 100) == 1
    assert schedule("poly", 50, 100) == pytest.approx(0.5**0.9)
    assert schedule("constant", 99, 100) == 1
    assert [schedule("steps", step, 100) for step in (69, 70, 89, 90)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert schedule("cosine", 50, 100) == pytest.approx(0.5)


def test_epochs_become_steps() -> None:
    def count(epochs: float | None) -> int:
        settings = DenseSettings(
            encoder="a",
            data="b",
            protocol="linear",
            training={"epochs": epochs, "batch_size": 16},
        )
        return steps(settings, 2975)

    assert count(300) == -(-300 * 2975 // 16)
    assert count(None) == 1000
