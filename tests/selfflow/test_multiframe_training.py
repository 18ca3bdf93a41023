"""Multi-frame fine-tuning: triplets, stored labels, batches of them, and a run that goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfflow.augment import Augmentation, Geometry
from selfflow.frames import FrameBatches, FrameCache, PairAddress
from selfflow.models import load_network, save
from selfflow.multiframe import FitSettings, Labels, LabelSettings, make_labels
from selfflow.multiframe_config import DEVICE_DEFAULTS, MultiframeConfig
from selfflow.multiframe_labels import (
    LabelBatches,
    LabelStore,
    Triplet,
    find_triplets,
    label_all,
    triplets_from_json,
)
from selfflow.multiframe_training import MultiframeTraining, divide_triplets
from selfflow.photometry import Colors
from selfflow.raft import raft_small
from selfflow.random import key, purpose
from selfflow.runs.config import load, replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.runs.schedule import constant_then_halve
from selfflow.runs.store import find_model, read_metadata
from selfflow.stage_config import resolve
from selfflow.supervised import Supervised
from selfflow.video import open_target

RECIPE = Path(__file__).parents[2] / "configs" / "train" / "multiframe.toml"
FEW = LabelSettings(
    iterations=1, batch_size=2, pairs_at_once=2, fit=FitSettings(steps=3, stride=2, least=0)
)
UNCHANGED = Augmentation(
    geometry=Geometry(
        flip_horizontal=0, flip_vertical=0, zoom=(0, 0), stretch=0, rotation=0,
        relative_zoom=0, relative_rotation=0, relative_translation=0,
    ),
    colors=Colors(
        brightness=0, contrast=0, saturation=0, hue=0, gamma=0, asymmetric=0, noise=0, erase=0
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    save("first", raft_small(), {"target": "davis"})


@pytest.fixture
def target(films, tmp_path):
    """Two short films of different sizes."""
    films.write_frames(tmp_path / "films" / "a", films.film(0, 5, height=64, width=72))
    films.write_frames(tmp_path / "films" / "b", films.film(1, 4, height=64, width=80))
    return open_target(str(tmp_path / "films"))


# --- triplets -----------------------------------------------------------------------------------


def test_triplets_are_neighbours_of_neighbours(target):
    expected = [Triplet("a", i, i + 1, i + 2) for i in range(3)]
    expected += [Triplet("b", i, i + 1, i + 2) for i in range(2)]
    assert find_triplets(target, (1,)) == expected
    both = find_triplets(target, (1, 2))
    assert set(both) == {*expected, Triplet("a", 0, 2, 4)}
    assert len(find_triplets(target, (1,), limit=2)) == 2
    assert expected[0].pairs == (PairAddress("a", 0, 1), PairAddress("a", 1, 2))


def test_triplets_with_a_cut_or_a_frame_that_is_repeated_are_left_out(films, tmp_path):
    first, second = films.film(0, 6), films.film(7, 5)
    films.write_frames(tmp_path / "cut", [*first[:4], first[3], *first[4:], *second])
    found = find_triplets(open_target(str(tmp_path / "cut")), (1,))
    # 3 and 4 are the same frame, the cut is between 6 and 7.
    assert [triplet.before for triplet in found] == [0, 1, 4, 7, 8, 9]


def test_a_target_without_a_triplet_is_refused(films, tmp_path):
    films.write_frames(tmp_path / "short", films.film(0, 2))
    with pytest.raises(UserError, match="too short"):
        find_triplets(open_target(str(tmp_path / "short")), (1,))
    films.write_frames(tmp_path / "still", films.film(0, 1) * 4)
    with pytest.raises(UserError, match="all 2 triplets of frames are static or have cuts"):
        find_triplets(open_target(str(tmp_path / "still")), (1,))
    with pytest.raises(UserError, match="at least 1"):
        find_triplets(open_target(str(tmp_path / "still")), (0,))


def test_triplets_survive_json():
    triplets = [Triplet("a", 0, 1, 2), Triplet("b", 3, 5, 7)]
    assert triplets_from_json(json.loads(json.dumps(triplets)), "here") == triplets
    for wrong in (None, [["a", 1, 2]], [["a", 1, 2, "x"]], {"a": 1}):
        with pytest.raises(UserError, match="here: not a list of"):
            triplets_from_json(wrong, "here")


def test_held_out_pairs_share_no_frame_with_what_is_learned_from():
    triplets = [Triplet(name, i, i + 1, i + 2) for name in "ab" for i in range(30)]
    trained, held_out = divide_triplets(triplets, 4, seed=1)
    assert len(held_out) == 4
    seen = {(triplet.sequence, index) for triplet in trained for index in triplet[1:]}
    assert not seen & {(pair.sequence, index) for pair in held_out for index in pair[1:]}
    assert len(trained) >= 60 - 4 * 4
    alone = triplets[:1]
    assert divide_triplets(alone, 4, seed=1) == (alone, [alone[0].pairs[1]])


# --- stored labels ------------------------------------------------------------------------------


def one_label(height=5, width=7):
    generator = torch.Generator().manual_seed(0)
    flow = 20 * torch.randn(1, 2, height, width, generator=generator)
    valid = torch.rand(1, 1, height, width, generator=generator) < 0.7
    return Labels(torch.where(valid, flow, 0), valid, valid & (flow[:, :1] > 0))


def test_labels_are_read_as_they_were_written(tmp_path):
    store, labels = LabelStore(tmp_path / "labels"), one_label()
    store.write(3, labels)
    flow, valid = store.read(3)
    assert (flow - labels.flow).abs().max() <= labels.flow.abs().max() * 2**-11
    assert torch.equal(valid, labels.valid)
    assert store.share(3) == pytest.approx(
        (labels.valid.float().mean().item(), labels.filled.float().mean().item())
    )
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["000003.npz"]
    with np.load(store.path(3), allow_pickle=False) as file:
        assert file["flow"].dtype == np.float16
        assert file["valid"].nbytes == 5  # 35 pixels
    with pytest.raises(ValueError, match="one label"):
        store.write(0, Labels(*(torch.cat((part, part)) for part in vars(labels).values())))


def test_motion_beyond_half_precision_is_not_valid(tmp_path):
    store, labels = LabelStore(tmp_path), one_label()
    labels.flow[0, 1, 2, 3], labels.valid[0, 0, 2, 3] = 1e5, True
    store.write(0, labels)
    flow, valid = store.read(0)
    assert flow.isfinite().all()
    assert not valid[0, 0, 2, 3]


def test_a_damaged_label_is_named(tmp_path):
    store = LabelStore(tmp_path)
    store.write(0, one_label())
    whole = store.path(0).read_bytes()
    for content in (b"", b"no label", whole[: len(whole) // 2]):
        store.path(0).write_bytes(content)
        with pytest.raises(UserError, match=r"000000.npz is not a readable label; remove it"):
            store.read(0)


def test_all_triplets_get_the_labels_of_their_batch(target, tmp_path):
    network, cache = raft_small().eval(), FrameCache(target)
    triplets = find_triplets(target, (1,))
    store = LabelStore(tmp_path / "labels")
    options = {"seed": 4, "device": torch.device("cpu")}
    label_all(store, network, cache, triplets, FEW, **options)
    batches = [[0, 1], [2], [3, 4]]  # two at once, of one size
    for numbers in batches:
        first = numbers[0]
        name, count = triplets[first].sequence, len(numbers) + 2
        index = [triplets[first].before + i for i in range(count)]
        frames = torch.stack([cache.frame(name, i) for i in index]) / 255
        places = [(i, i + 1, i + 2) for i in range(len(numbers))]
        keys = purpose(key(4, torch.tensor(numbers)), "labels")
        expected = make_labels(network, frames, places, keys, FEW)
        for place, number in enumerate(numbers):
            flow, valid = store.read(number)
            torch.testing.assert_close(flow, expected.flow[place][None].half().float())
            assert torch.equal(valid, expected.valid[place][None])

    def written():
        return {number: store.path(number).stat().st_mtime_ns for number in range(5)}

    times, content = written(), store.path(3).read_bytes()
    store.path(3).unlink()
    label_all(store, network, cache, triplets, FEW, **options)
    again = written()
    assert [number for number in range(5) if again[number] != times[number]] == [3, 4]
    assert store.path(3).read_bytes() == content


# --- batches ------------------------------------------------------------------------------------


def batches(target, tmp_path, augmentation, crop=(64, 64)):
    triplets = find_triplets(target, (1,))
    store = LabelStore(tmp_path / "labels")
    for number, triplet in enumerate(triplets):
        flow = torch.zeros(1, 2, *target[triplet.sequence].size)
        flow[:, 0], flow[:, 1] = -3, number
        valid = torch.ones_like(flow[:, :1], dtype=torch.bool)
        valid[..., :20, :] = False
        store.write(number, Labels(flow, valid, valid))
    pairs = [triplet.pairs[1] for triplet in triplets]
    frames = FrameBatches(FrameCache(target), pairs, seed=1, batch_size=2)
    return LabelBatches(frames, store, augmentation, crop), pairs


def test_a_batch_holds_the_last_two_frames_of_triplets_with_their_labels(target, tmp_path):
    source, pairs = batches(target, tmp_path, UNCHANGED)
    for step in range(3):
        batch = source(step)
        assert batch.image1.shape == (2, 3, 64, 64)
        for place, address in enumerate(source.frames.addresses(step)):
            known = batch.valid[place, 0]
            assert torch.equal(known.all(1), torch.arange(64) >= 20)
            assert (batch.flow[place, 0][known] == -3).all()
            assert (batch.flow[place, 1][known] == pairs.index(address)).all()
            frames = [source.frames.cache.frame(address.sequence, i) / 255 for i in address[1:]]
            room = frames[0].shape[2] - 64
            offsets = [
                x
                for x in range(room + 1)
                if (frames[0][:, :, x : x + 64] - batch.image1[place]).abs().max() < 1e-3
                and (frames[1][:, :, x : x + 64] - batch.image2[place]).abs().max() < 1e-3
            ]
            assert len(offsets) == 1


def test_augmented_batches_depend_on_the_step_alone_and_change_the_labels_along(target, tmp_path):
    zoomed = UNCHANGED.geometry.model_copy(update={"zoom": (1, 1)})
    source, pairs = batches(target, tmp_path, UNCHANGED.model_copy(update={"geometry": zoomed}))
    source(0)
    batch, again = source(2), batches(target, tmp_path, source.augmentation)[0](2)
    assert torch.equal(batch.image1, again.image1)
    assert torch.equal(batch.flow, again.flow)
    expected = [2.0 * pairs.index(address) for address in source.frames.addresses(2)]
    for place in range(2):
        known = batch.valid[place, 0]
        torch.testing.assert_close(batch.flow[place, 0][known].mean(), torch.tensor(-6.0))
        assert batch.flow[place, 1][known].mean().item() == pytest.approx(expected[place], abs=1e-3)


def test_a_label_of_another_size_is_refused(target, tmp_path):
    source, _ = batches(target, tmp_path, UNCHANGED)
    for number in range(5):
        source.store.write(number, one_label())
    with pytest.raises(UserError, match="not of the frames' size"):
        source(0)


# --- the stage ----------------------------------------------------------------------------------


def configured(target, **values):
    settings = {
        "init": "first",
        "target": str(target),
        "loop.steps": 4,
        "loop.precision": "float32",
        "loop.save_every": 1,
        "loop.pictures_every": 2,
        "batch_size": 2,
        "crop": (64, 64),
        "iterations": 2,
        "learning_rate": 1e-3,
        "held_out": 1,
        "labels": FEW,
        "device": "cpu",
    }
    return resolve(replace_values(MultiframeConfig(), settings | values))[0]


def trained(config, folder):
    with Run.open(folder, "train", config) as run:
        return MultiframeTraining.prepare(config).run(run)


def test_a_run_measures_labels_trains_and_keeps_the_network(target, tmp_path):
    config = configured(tmp_path / "films")
    lines = "\n".join(MultiframeTraining.prepare(config).estimate())
    assert "at most 5 triplets of 64x72" in lines
    assert "2 iterations, 4 steps, batch 2, float32" in lines
    results = trained(config, tmp_path / "run")
    assert results["before"].keys() == results["after"].keys() >= {"objective", "photometric"}
    assert results["before"] != results["after"]
    assert results["steps"] == 4
    assert results["title"] == f"means over 1 held-out pair of {tmp_path / 'films'}"
    assert 0 <= results["labels"]["filled"] <= results["labels"]["valid"] <= 1
    count = results["triplets"]["trained"]
    files = sorted(path.name for path in (tmp_path / "run" / "labels").iterdir())
    assert files == [f"{number:06d}.npz" for number in range(count)]
    metadata = read_metadata(find_model("s-af-mf"))
    assert metadata["made_by"] == "selfflow train --stage multiframe"
    assert (metadata["init"], metadata["steps"], metadata["seed"]) == ("first", 4, 0)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["steps"] == 4


def test_a_run_that_was_stopped_twice_ends_as_one_that_was_not(target, tmp_path, monkeypatch):
    config = configured(tmp_path / "films")
    trained(config, tmp_path / "undisturbed")
    expected = load_network("s-af-mf")[0].state_dict()

    write, calls = LabelStore.write, []

    def killed_while_labelling(self, number, labels):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(number)
        write(self, number, labels)

    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "write", killed_while_labelling)
        with pytest.raises(KeyboardInterrupt):
            trained(config, tmp_path / "stopped")

    step = Supervised.step

    def killed_while_training(self, batch, number):
        if number == 2:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Supervised, "step", killed_while_training)
        with pytest.raises(KeyboardInterrupt):
            trained(config, tmp_path / "stopped")
    before = json.loads((tmp_path / "stopped" / "before.json").read_text())
    results = trained(config, tmp_path / "stopped")
    assert results["before"] == pytest.approx(before)
    for name, value in load_network("s-af-mf")[0].state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_where_flow_is_known_the_error_is_measured():
    config = configured("sample", triplets=2, short_side=64, held_out=1)
    training = MultiframeTraining.prepare(config)
    cache = FrameCache(training.target, 64)
    pair = PairAddress("room", 3, 4)
    batch = cache.load(pair)
    with torch.no_grad():
        flow = training.network.eval()(batch.image1, batch.image2, 2)
    error = (flow - batch.flow).square().sum(1, keepdim=True).sqrt()[batch.valid].mean().item()
    assert training._measure(cache, [pair])["epe"] == pytest.approx(error, rel=1e-4)


def test_the_recipe_and_the_defaults_of_each_device_can_be_read():
    assert load(MultiframeConfig, file=RECIPE).loop.steps == 30_000
    for defaults in DEVICE_DEFAULTS.values():
        assert load(MultiframeConfig, file=RECIPE, defaults=defaults).loop.steps < 1000


def test_the_rate_is_constant_then_halved():
    config = MultiframeConfig()
    assert config.rate(0) == config.rate(25_000) == 2e-4
    assert config.rate(26_000) == pytest.approx(1e-4)
    assert config.rate(29_500) == constant_then_halve(29_500, 30_000, 2e-4)
