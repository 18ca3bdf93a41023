from itertools import islice

import pytest
import torch

import autoflow
from autoflow.hyperparameters import Hyperparameters
from selfflow.flow import warp
from selfflow.pairs import Pairs
from selfflow.runs.config import replace_values

SIZE = (64, 96)


def same(a: Pairs, b: Pairs) -> None:
    torch.testing.assert_close(a.image1, b.image1, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.flow, b.flow, rtol=0, atol=1e-4)
    assert torch.equal(a.visible, b.visible)


def make(sets=None, **changes):
    options = {"seed": 3, "size": SIZE, "batch_size": 4} | changes
    return autoflow.stream(sets or Hyperparameters(), **options)


def test_batches_are_a_pure_function_of_the_step():
    first, second = islice(make(), 2)
    same(first, make().batch_at(0))
    same(second, make().batch_at(1))
    assert not torch.equal(first.flow, second.flow)


def test_samples_do_not_depend_on_the_batch_size():
    wide, narrow = make(batch_size=4).batch_at(0), make(batch_size=2).batch_at(1)
    torch.testing.assert_close(wide.flow[2:], narrow.flow, rtol=0, atol=1e-4)
    torch.testing.assert_close(wide.image1[2:], narrow.image1, rtol=0, atol=1e-5)


def test_pairs_are_crops_of_the_size_asked_for_with_all_labels():
    pairs = make().batch_at(0)
    assert pairs.image1.shape == pairs.image2.shape == (4, 3, *SIZE)
    assert pairs.flow.shape == (4, 2, *SIZE)
    assert pairs.valid.shape == pairs.visible.shape == (4, 1, *SIZE)
    clips = make(frames=3).batch_at(0)
    assert len(clips) == 8


def test_augmented_flow_still_leads_to_the_same_colours(plain):
    off = ("brightness", "contrast", "saturation", "hue", "gamma", "noise", "erase")
    colors = {f"augmentation.colors.{name}": 0.0 for name in off}
    pairs = make(replace_values(plain, colors), batch_size=8).batch_at(0)
    known = pairs.valid & pairs.visible
    error = (warp(pairs.image2, pairs.flow) - pairs.image1).abs().mean(1, keepdim=True)[known]
    still = (pairs.image2 - pairs.image1).abs().mean(1, keepdim=True)[known]
    assert error.mean() < 0.4 * still.mean()


def test_sets_are_mixed_by_sample_and_each_sample_keeps_its_own(plain):
    calm = replace_values(plain, {"background.translation": 0.0, "layers.count": (0, 0)})
    wild = replace_values(plain, {"layers.count": (9, 9)})
    mixed = make([calm, wild], batch_size=16, augment=False).batch_at(0)
    alone = [make(one, batch_size=16, augment=False).batch_at(0) for one in (calm, wild)]
    origin = []
    for sample in range(16):
        fits = [torch.allclose(mixed.flow[sample], one.flow[sample], atol=1e-4) for one in alone]
        assert sum(fits) == 1
        origin.append(fits.index(True))
    assert 4 <= sum(origin) <= 12


def test_without_augmentation_a_stream_is_render():
    pairs = make(augment=False).batch_at(2)
    expected = autoflow.render(Hyperparameters(), 3, range(8, 12), size=SIZE).pairs()
    same(pairs, expected)


def test_a_stream_without_sets_or_batches_is_an_error():
    with pytest.raises(ValueError, match="needs"):
        autoflow.stream([], size=SIZE, batch_size=1)
    with pytest.raises(ValueError, match="needs"):
        make(batch_size=0)
