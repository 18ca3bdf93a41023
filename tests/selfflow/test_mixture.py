"""Mixed labelled batches: shares, order, augmentation by data set, bounded memory, divisions."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from selfflow.augment import augment
from selfflow.labelled import LabelledPair
from selfflow.mixture import ROUND, MixedBatches, PairCache, Source, _zoomed_or_not, divide
from selfflow.pairs import Pairs
from selfflow.random import key
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CROP = (24, 32)


def pair(name, seed=0, *, height=40, width=56, sparse=False, part="", read=None):
    """A labelled pair of noise, dense or sparse; `read` counts how often it is read."""

    def make():
        if read is not None:
            read[name] += 1
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (2, 1, 3, height, width), generator=generator) / 255
        flow = torch.randn(1, 2, height, width, generator=generator)
        known = torch.rand(1, 1, height, width, generator=generator) < 0.3 if sparse else None
        return Pairs(images[0], images[1], flow, known)

    return LabelledPair(name, part, make)


def several(name, count, **settings):
    return [pair(f"{name}/{i}", seed=i, **settings) for i in range(count)]


def mixture(seed=0, batch_size=4):
    dense, sparse = Source(name="dense", weight=100), Source(name="sparse", weight=7, sparse=True)
    data = [
        (dense, several("dense", 3)),
        (sparse, several("sparse", 20, height=30, width=90, sparse=True)),
    ]
    return MixedBatches(data, seed, batch_size, CROP)


@pytest.fixture
def small_rounds(monkeypatch):
    monkeypatch.setattr("selfflow.mixture.ROUND", 880)


def test_weights_say_how_often_a_pair_is_seen(small_rounds):
    mixed = mixture()
    total = 100 * 3 + 7 * 20
    assert mixed.shares == (round(880 * 300 / total), round(880 * 140 / total))
    seen = Counter(mixed.place(number) for number in range(sum(mixed.shares)))
    each = {source: [seen[source, i] for i in range(count)] for source, count in ((0, 3), (1, 20))}
    for counts in each.values():
        assert max(counts) - min(counts) <= 1
    assert sum(each[0]) / 3 / (sum(each[1]) / 20) == pytest.approx(100 / 7, rel=1e-3)
    # Also a short training sees both.
    first = Counter(mixed.place(number)[0] for number in range(200))
    assert first[0] / 200 == pytest.approx(300 / total, abs=0.1)


def test_a_data_set_is_never_forgotten():
    data = [(Source(name="a"), several("a", 1)), (Source(name="b", weight=1e6), several("b", 9))]
    assert MixedBatches(data, 0, 2, CROP).shares == (1, ROUND)


def test_all_pairs_of_a_data_set_are_seen_before_one_is_seen_again(small_rounds):
    mixed = mixture()
    numbers = range(3 * sum(mixed.shares))
    order = [index for source, index in map(mixed.place, numbers) if source == 1]
    epochs = [order[i : i + 20] for i in range(0, len(order) - 20, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 0.9 * len(epochs)


def test_a_batch_depends_on_seed_and_step_alone():
    first = mixture()
    earlier = [first(step) for step in (0, 7)]
    again = mixture()(7)
    for name in ("image1", "image2", "flow", "valid"):
        assert torch.equal(getattr(earlier[1], name), getattr(again, name))
    assert not torch.equal(earlier[0].image1, again.image1)
    assert not torch.equal(mixture(seed=1)(7).image1, again.image1)


def test_a_sample_does_not_depend_on_the_batch_size():
    whole = mixture(batch_size=4)(2)
    for i in range(4):
        alone = mixture(batch_size=1)(8 + i)
        assert torch.equal(alone.flow[0], whole.flow[i])
        assert torch.equal(alone.image2[0], whole.image2[i])


def test_dense_and_sparse_labels_of_any_size_make_one_batch():
    mixed = mixture(batch_size=12)
    batch = mixed(0)
    assert batch.image1.shape == (12, 3, *CROP)
    assert batch.flow.isfinite().all()
    kinds = {mixed.place(number)[0] for number in range(12)}
    assert kinds == {0, 1}
    for number, known in enumerate(batch.valid.float().mean((1, 2, 3))):
        if mixed.place(number)[0] == 0:
            assert known == 1
        else:
            assert 0.1 < known < 0.5
    assert not batch.flow[~batch.valid.expand_as(batch.flow)].any()


def test_samples_are_augmented_as_their_data_set_says():
    mixed = mixture(batch_size=1)
    for number in range(6):
        source, index = mixed.place(number)
        settings, pairs = mixed.data[source]
        own_key = key(0, torch.tensor([number]))
        augmentation = _zoomed_or_not(settings.augmentation(), own_key)
        loaded = pairs[index].load()
        known = torch.ones_like(loaded.flow[:, :1]).bool() if loaded.valid is None else loaded.valid
        whole = Pairs(loaded.image1, loaded.image2, loaded.flow, known)
        expected = augment(whole, own_key, augmentation, CROP)
        assert torch.equal(mixed(number).image1, expected.image1)
        assert torch.equal(mixed(number).flow, expected.flow)


def test_zoom_and_stretch_happen_as_often_as_in_raft():
    augmentation = Source(name="a", zoom=(-0.1, 1.0)).augmentation()
    made = [_zoomed_or_not(augmentation, k[None]).geometry for k in key(0, torch.arange(600))]
    zoomed = [geometry for geometry in made if geometry.zoom == (-0.1, 1.0)]
    assert len(zoomed) / 600 == pytest.approx(0.8, abs=0.05)
    assert {g.zoom for g in made if g not in zoomed} == {(0.0, 0.0)}
    assert not any(g.stretch for g in made if g not in zoomed)
    assert sum(g.stretch > 0 for g in zoomed) / len(zoomed) == pytest.approx(0.8, abs=0.05)


def test_the_augmentation_is_rafts():
    dense, sparse = (Source(name="a", sparse=sparse).augmentation() for sparse in (False, True))
    for geometry in (dense.geometry, sparse.geometry):
        assert geometry.rotation == geometry.relative_zoom == geometry.relative_rotation == 0
        assert geometry.relative_translation == 0
        assert geometry.zoom == (-0.2, 0.6)
        assert geometry.flip_horizontal == 0.5
    assert (dense.geometry.flip_vertical, dense.geometry.stretch) == (0.1, 0.2)
    assert (sparse.geometry.flip_vertical, sparse.geometry.stretch) == (0, 0)
    assert dense.colors.hue == pytest.approx(0.5 / 3.14, abs=1e-3)
    assert sparse.colors.hue == pytest.approx(0.3 / 3.14, abs=1e-3)
    assert (dense.colors.asymmetric, sparse.colors.asymmetric) == (0.2, 0)
    assert (dense.colors.brightness, sparse.colors.brightness) == (0.4, 0.3)
    assert dense.colors.noise == dense.colors.gamma == sparse.colors.noise == 0
    still = Source(name="a", flip=False).augmentation().geometry
    assert still.flip_horizontal == still.flip_vertical == 0


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("zoom=[0.5, 0.1]", "turned round"),
        ("zoom=[-3, 0]", "zoom"),
        ("weight=0", "weight"),
        ("wieght=2", "wieght"),
    ],
)
def test_impossible_settings_are_named(override, says):
    with pytest.raises(UserError, match=says):
        load(Source, overrides=["name=a", override])


def test_pairs_are_read_once_and_exactly():
    read = Counter()
    cache, example = PairCache(), pair("a", read=read)
    expected = example.load()
    for _ in range(3):
        loaded = cache.load(example)
    assert read["a"] == 2  # once by the test itself
    for name in ("image1", "image2", "flow"):
        assert torch.equal(getattr(loaded, name), getattr(expected, name))
    assert loaded.valid.all()
    every = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    flow = torch.zeros(1, 2, 16, 16)
    assert torch.equal(
        cache.load(LabelledPair("b", "", lambda: Pairs(every, every, flow))).image1, every
    )


def test_the_cache_is_bounded():
    read = Counter()
    pairs = several("a", 6, read=read)
    size = 40 * 56 * (3 + 3 + 8 + 1)
    cache = PairCache(bytes_limit=3 * size)
    for each in pairs:
        cache.load(each)
        assert cache.bytes_used <= 3 * size
    assert cache.bytes_used == 3 * size
    cache.load(pairs[5])
    assert read["a/5"] == 1
    cache.load(pairs[0])
    assert read["a/0"] == 2
    tiny = PairCache(bytes_limit=1)
    assert len(tiny.load(pairs[0])) == 1


def test_threads_share_the_cache():
    read = Counter()
    pairs = several("a", 8, read=read)
    cache = PairCache()
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(cache.load, pairs * 6))
    for number, each in enumerate(loaded):
        assert torch.equal(each.flow, pairs[number % 8].load().flow)
    assert cache.bytes_used == 8 * 40 * 56 * (3 + 3 + 8 + 1)


def test_a_pair_without_a_label_is_named():
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="bare has no label"):
        PairCache().load(LabelledPair("bare", "", lambda: Pairs(image, image)))


def scenes(part, count, length):
    return [
        pair(f"{part}/scene_{s}/frame_{i}", part=part) for s in range(count) for i in range(length)
    ]


def scene(each):
    return each.name.split("/")[1]


def test_what_is_measured_shares_no_scene_with_what_is_learned():
    tables = [
        (Source(name="sintel", parts=("clean",)), scenes("clean", 20, 5)),
        (Source(name="sintel", parts=("final",)), scenes("final", 20, 5)),
        (Source(name="kitti"), [pair(f"{i}_10/{i}_10") for i in range(40)]),
    ]
    clean, final, kitti = divide(tables, 4, seed=3)
    assert len(clean.measured) == len(final.measured) == len(kitti.measured) == 4
    learned = {scene(each) for division in (clean, final) for each in division.trained}
    measured = {scene(each) for division in (clean, final) for each in division.measured}
    assert not learned & measured
    assert len(clean.trained) == len(final.trained) == 95
    assert len(kitti.trained) == 36
    assert not set(kitti.trained) & set(kitti.measured)
    assert [d.measured for d in divide(tables, 4, seed=3)] == [
        d.measured for d in (clean, final, kitti)
    ]
    assert divide(tables, 4, seed=4)[0].measured != clean.measured


def test_at_most_an_eighth_is_held_out():
    (division,) = divide([(Source(name="a"), [pair(f"{i}/x") for i in range(20)])], 100, seed=0)
    assert len(division.measured) == 2
    assert len(division.trained) == 18


@pytest.mark.parametrize("held_out", [0, 3])
def test_few_pairs_are_all_learned_and_measured(held_out):
    pairs = [pair(f"{i}/x") for i in range(5)]
    (division,) = divide([(Source(name="a"), pairs)], held_out, seed=0)
    assert division.trained == pairs
    assert len(division.measured) == max(1, held_out)
    assert set(division.measured) <= set(pairs)
