"""What holds for every method, each on a tiny network and film of its own."""

import copy
import os
import signal
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from representation import pretrain
from representation.estimate import measure
from representation.method import Frames, Method
from representation.methods import METHODS
from representation.optimizer import new_optimizer
from representation.pretrain import Pretraining, assemble, batches_for, train
from representation.settings import PretrainSettings
from selfflow.io import write_image
from selfflow.runs.config import load
from selfflow.runs.distributed import process_group, rank, world_size
from selfflow.runs.run import Run

Processes = Callable[..., list[int | None]]
GLOBAL_BATCH = 4
TINY = {
    "device": "cpu",
    "flow_model": "zero",
    "cache_flow": False,
    "frames.pairs": 12,
    "views.height": 64,
    "views.width": 64,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "heads.hidden": 16,
    "heads.out": 8,
    "optimizer.warmup": 1,
    "loop.steps": 4,
}
# What a method's own table needs to be tiny too.
OWN: dict[str, dict[str, Any]] = {
    "moco": {"moco.queue": 10, "moco.parts": 2},
    "cacl": {"moco.queue": 10, "moco.parts": 2, "frames.gaps": [1]},
    "vader": {
        "views.height": 32,
        "views.width": 32,
        "views.pixels": 4,
        "vader.queued": 3,
        "moco.queue": 50,
        "moco.parts": 2,
    },
    "multisiam-moco": {"moco.queue": 10, "moco.parts": 2},
}
# Which look at two frames, and which have no target network.
PAIRED = {"flowe", "cacl"}
ALONE = {"simclr"}
# Which know the points that belong together.
MATCHED = {"flowe", "cacl", "vader", "multisiam", "multisiam-moco"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of frames in which a texture moves by two pixels a frame."""
    folder = tmp_path_factory.mktemp("target") / "film"
    folder.mkdir()
    small = np.random.default_rng(0).integers(0, 256, (10, 16, 3), np.uint8)
    picture = cv2.resize(small, (112, 72), interpolation=cv2.INTER_CUBIC)
    for number in range(8):
        write_image(folder / f"{number:05d}.png", np.roll(picture, 2 * number, axis=1))
    return str(folder)


def settings(name: str, film: str, **changes: object) -> PretrainSettings:
    kind = METHODS[name]
    values = {"method": name, "target": film, **TINY, **OWN.get(name, {}), **changes}
    values["frames.batch_size"] = GLOBAL_BATCH // world_size()
    return load(kind.Settings, values=values, defaults=kind.device_defaults.get("cpu", {}))


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a checkpoint, by their place in it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        yield from chain.from_iterable(tensors(v, f"{name}.{k}") for k, v in value.items())


def held(method: Method) -> dict[str, Tensor]:
    """Return copies of all that a method's checkpoint would hold."""
    states = {name: module.state_dict() for name, module in method.modules.items()}
    return {name: value.clone() for name, value in tensors(states)}


def trained(parts: Pretraining, folder: Path) -> dict[str, Tensor]:
    """Train to the end, or as far as it goes; return what the checkpoint holds."""
    with Run.open(folder, "pretrain", parts.settings) as run:
        train(parts, run)
        state = run.load_checkpoint()
    assert state is not None
    return dict(tensors(state))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of two small images with label maps."""
    folder = tmp_path_factory.mktemp("labelled")
    for split in ("train", "val"):
        ids = np.indices((40, 48))[1].astype(np.uint8) // 16
        write_image(folder / split / "a.png", np.repeat(80 * ids[..., None], 3, 2))
        write_image(folder / f"{split}annot" / "a.png", ids)
    return str(folder)


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_and_two_more_are_four_bit_for_bit_and_being_watched_changes_nothing(
    name: str, film: str, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = trained(
        assemble(settings(name, film, **{"loop.pictures_every": 0})), tmp_path / "whole"
    )
    watching = {"probe.data": labelled, "probe.every": 1, "loop.pictures_every": 1}
    given = settings(name, film, **watching)
    after_step = pretrain.CollapseWatch.after_step

    def stop_after_two(watch: pretrain.CollapseWatch, step: int) -> None:
        after_step(watch, step)
        if step == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pretrain.CollapseWatch, "after_step", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        trained(assemble(given), tmp_path / "parts")
    monkeypatch.undo()
    stopped = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert stopped["result"]["steps"] == 2
    torch.rand(3)  # another session has drawn other numbers
    found = trained(assemble(given), tmp_path / "parts")
    assert found.keys() == whole.keys()
    for place, value in whole.items():
        assert torch.equal(value, found[place]), place
    figures = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["result"][
        "figures"
    ]
    assert 0 <= figures["probe_miou"] <= 1
    assert figures["images_per_second"] > 0
    assert ("share_of_time_in_flow" in figures) == (name == "flowe")
    pictures = {path.name for path in (tmp_path / "parts" / "pictures").iterdir()}
    assert {f"features-{step:06d}.png" for step in (1, 2, 3, 4)} <= pictures
    assert ("matches-000003.png" in pictures) == (name in MATCHED)
    early = dict(tensors(stopped))
    weights = [place for place in whole if place.startswith(".modules.online.encoder")]
    assert any(not torch.equal(early[place], whole[place]) for place in weights)


def one_batch(name: str, film: str, **changes: object) -> tuple[Method, Any]:
    parts = assemble(settings(name, film, **changes))
    return parts.method, batches_for(parts)(0)


def loss_of(method: Method, batch: Any, change: Callable[[], None] | None = None) -> Tensor:
    """Return the loss of a copy's step, after a change of this method's weights."""
    if change is not None:
        change()
    return copy.deepcopy(method).step(batch, 0)["loss"]


@pytest.mark.parametrize("name", sorted(METHODS.keys() - ALONE))
def test_the_target_is_used_and_gets_no_gradient(name: str, film: str):
    method, batch = one_batch(name, film)
    target, online = method.modules["target"], method.modules["online"]
    assert isinstance(target, torch.nn.Module)
    assert isinstance(online, torch.nn.Module)
    method.step(batch, 0)  # fills a queue, which is empty at first
    before = loss_of(method, batch)
    assert torch.equal(loss_of(method, batch), before)

    def disturb() -> None:
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    changed = loss_of(method, batch, disturb)
    assert not torch.isclose(changed, before)
    method.step(batch, 0)["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in target.parameters())
    learning = {id(p) for group in method.parameter_groups() for p in group["params"]}
    assert not learning & {id(p) for p in target.parameters()}
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    follower = next(target.parameters()).clone()
    method.after_step(0)
    assert not torch.equal(next(target.parameters()), follower)


@pytest.mark.parametrize("name", METHODS)
def test_everything_that_is_to_learn_gets_a_gradient(name: str, film: str):
    method, batch = one_batch(name, film)
    terms = method.step(batch, 0)
    terms["loss"].backward()
    assert 0 <= terms["spread"] <= 1
    learning = [p for group in method.parameter_groups() for p in group["params"]]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    assert len({id(p) for p in learning}) == len(learning)
    encoder = {id(p) for p in method.encoder.parameters()}
    assert encoder <= {id(p) for p in learning}
    # All of it is in the checkpoint.
    kept = {
        id(p)
        for module in method.modules.values()
        if isinstance(module, torch.nn.Module)
        for p in module.parameters()
    }
    assert {id(p) for p in learning} <= kept


@pytest.mark.parametrize("name", METHODS)
def test_preparing_is_pure(name: str, film: str):
    parts = assemble(settings(name, film))
    make = batches_for(parts)
    before = held(parts.method)
    torch.manual_seed(1)
    first = list(tensors(as_dictionary(make(1))))
    torch.manual_seed(2)
    again = list(tensors(as_dictionary(make(1))))
    assert first
    for (place, a), (_, b) in zip(first, again, strict=True):
        assert torch.equal(a, b), place
        assert not a.requires_grad, place
    for place, value in held(parts.method).items():
        assert torch.equal(value, before[place]), place


def as_dictionary(value: Any) -> Any:
    """Return dataclasses and tuples, nested, as dictionaries."""
    if isinstance(value, tuple | list):
        return {number: as_dictionary(each) for number, each in enumerate(value)}
    if hasattr(value, "__dataclass_fields__"):
        return {field: as_dictionary(getattr(value, field)) for field in value.__dataclass_fields__}
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls_on_a_toy(name: str, film: str):
    steps = 40
    changes = {"loop.steps": steps, "optimizer.kind": "adamw", "optimizer.learning_rate": 3e-3}
    parts = assemble(settings(name, film, **changes, **{"heads.hidden": 64, "heads.out": 32}))
    method, make = parts.method, batches_for(parts)
    batches = [make(number) for number in range(2)]
    optimizer, losses = new_optimizer(parts.settings, method), []
    for group in optimizer.param_groups:
        group["lr"] = 3e-3
    for step in range(steps):
        optimizer.zero_grad()
        terms = method.step(batches[step % 2], step)
        terms["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(terms["loss"].item())
    assert sum(losses[-6:]) < 0.9 * sum(losses[2:8])


@pytest.mark.parametrize("name", METHODS)
def test_it_can_be_estimated_and_leaves_pictures(name: str, film: str):
    parts = assemble(settings(name, film))
    before = held(parts.method)
    make, step = measure(parts)
    assert make > 0
    assert step > 0
    for place, value in held(parts.method).items():
        assert torch.equal(value, before[place]), place
    assert parts.method.pictures() == {}
    parts.method.step(batches_for(parts)(0), 0)
    pictures = parts.method.pictures()
    assert pictures
    for picture in pictures.values():
        assert picture.ndim == 3
        assert picture.shape[0] == 3
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("name", sorted(METHODS.keys() - PAIRED))
def test_single_images_are_enough(name: str, film: str):
    """Nothing of the second frame, nor of the flow, is looked at."""
    parts = assemble(settings(name, film))
    assert not parts.method.uses_flow
    assert all(pair.first == pair.second for pair in parts.batches.pairs)
    images = torch.rand(2, 3, 70, 90)
    keys, sizes = torch.arange(2), torch.tensor((70, 90)).expand(2, 2)
    nothing = torch.full_like(images, torch.nan)
    expected = parts.method.prepare(Frames(images, images, keys, sizes))
    found = parts.method.prepare(Frames(images, nothing, keys, sizes))
    for (place, a), (_, b) in zip(
        tensors(as_dictionary(found)), tensors(as_dictionary(expected)), strict=True
    ):
        assert torch.equal(a, b), place


def train_together(name: str, film: str, folder: Path) -> dict[str, Tensor]:
    """Train two steps of plain gradient descent; return trained weights, target and queue."""
    changes = {"optimizer.kind": "sgd", "optimizer.learning_rate": 0.05, "optimizer.momentum": 0.0}
    parts = assemble(settings(name, film, **changes, **{"loop.steps": 2}))
    start = held(parts.method)
    with Run.open(folder / name, "pretrain", parts.settings) as run:
        train(parts, run)
    end = held(parts.method)
    assert any((end[place] - start[place]).abs().max() > 1e-4 for place in start)
    # Parts of a batch that are normalised by themselves have statistics of their own.
    return {n: v for n, v in end.items() if "running" not in n and "num_batches" not in n}


def work(environment: dict[str, str], film: str, folder: Path) -> None:
    os.environ.update(environment)
    with process_group():
        found = {name: train_together(name, film, folder) for name in METHODS}
        torch.save(found, folder / f"{rank()}.pt")


@pytest.mark.slow
def test_two_processes_train_as_one(film: str, processes: Processes, tmp_path: Path):
    assert processes(work, film, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (0, 1))
    for name in METHODS:
        expected = train_together(name, film, tmp_path / "one")
        for place, value in expected.items():
            assert torch.equal(first[name][place], second[name][place]), (name, place)
            torch.testing.assert_close(
                first[name][place], value, rtol=0, atol=1e-4, msg=f"{name} {place}"
            )
