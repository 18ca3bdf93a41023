"""Labels from three frames: motions, the small networks, what is filled in, whether it helps."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from autoflow.hyperparameters import Hyperparameters
from autoflow.render import render
from selfflow import multiframe
from selfflow.flow import stays_inside
from selfflow.metrics import endpoint_error
from selfflow.models import load
from selfflow.multiframe import (
    FitSettings,
    LabelSettings,
    Motions,
    _apply,
    _initial,
    _inputs,
    fill,
    find_motions,
    fit_motion,
    make_labels,
    seen,
)
from selfflow.random import key

KEYS = key(0, torch.arange(3))


def motions(count=3, height=12, width=14, seed=0, dtype=torch.float64):
    """Smooth motions that are related in time, hidden here and there."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 2, 3, 3, generator=generator, dtype=dtype)
    size = (height, width)
    forward = 3 * nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
    hidden = torch.rand(2, count, 1, height, width, generator=generator) < 0.2
    return Motions(forward, -0.8 * forward + 0.5, ~hidden[0], ~hidden[1])


# --- the small networks -------------------------------------------------------------------------


def one_network(parameters, number):
    """A triplet's network with torch's own layers."""
    layers = []
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        layer = nn.Conv2d(weight.shape[2], weight.shape[1], 3, padding=1).double()
        layer.load_state_dict({"weight": weight[number], "bias": bias[number]})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_each_network_is_fitted_as_the_slow_twin_does_it():
    given = motions(height=6, width=7)
    settings = FitSettings(steps=10, learning_rate=0.02, decay=0.5, channels=5)
    predicted = fit_motion(given, KEYS, settings)
    parameters = _initial(KEYS, 5, given.forward)
    sides = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (6, 7))
    y, x = torch.meshgrid(*sides, indexing="ij")
    for number in range(2):
        network = one_network(parameters, number)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02, eps=1e-7)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5 ** (1 / 10))
        inputs = torch.cat((-given.backward[number], torch.stack((x, y))))[None]
        for _ in range(10):
            result = network(inputs)[0]
            error = torch.zeros((), dtype=torch.float64)
            for row in range(6):
                for column in range(7):
                    if given.ahead[number, 0, row, column] and given.behind[number, 0, row, column]:
                        difference = result - given.forward[number]
                        error = error + difference[:, row, column].square().sum().sqrt()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            schedule.step()
        torch.testing.assert_close(predicted[number], network(inputs)[0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_many_at_once_are_what_each_is_alone(dtype, tolerance, monkeypatch):
    given = motions(dtype=dtype)
    settings = FitSettings(steps=60, stride=2)
    together = fit_motion(given, KEYS, settings)
    for number in range(3):
        one = slice(number, number + 1)
        parts = (given.forward, given.backward, given.ahead, given.behind)
        alone = fit_motion(Motions(*(part[one] for part in parts)), KEYS[one], settings)
        torch.testing.assert_close(together[one], alone, atol=tolerance, rtol=0)
    monkeypatch.setitem(multiframe.PIXELS_AT_ONCE, "cpu", 2 * 6 * 7)  # two, then one
    torch.testing.assert_close(fit_motion(given, KEYS, settings), together, atol=tolerance, rtol=0)


def test_networks_begin_apart_and_as_glorot_says():
    weights = _initial(key(1, torch.arange(50)), 16, torch.zeros(1))
    for (inputs, outputs), weight, bias in zip(
        pairwise((4, 16, 16, 2)), weights[::2], weights[1::2], strict=True
    ):
        assert weight.shape == (50, outputs, inputs, 3, 3)
        assert weight.var().item() == pytest.approx(2 / (9 * (inputs + outputs)), rel=0.1)
        assert not bias.any()
        assert not torch.equal(weight[0], weight[1])


def test_the_published_rate_falls_by_a_fifth_every_hundred_steps():
    settings = FitSettings()
    for step in (100, 1000, 2000):
        rate = settings.decay ** (step / settings.steps)
        assert rate == pytest.approx(0.8 ** (step / 100), rel=1e-3)


def test_with_a_stride_the_same_function_is_applied_to_all_pixels():
    inputs = _inputs(motions().backward)
    parameters = _initial(KEYS, 4, inputs)
    lattice = (..., slice(1, None, 3), slice(1, None, 3))
    everywhere, fitted = _apply(parameters, inputs, 3), _apply(parameters, inputs[lattice])
    torch.testing.assert_close(everywhere[lattice], fitted)
    one = _apply([part[1:2] for part in parameters], inputs[1:2])
    torch.testing.assert_close(_apply(parameters, inputs)[1:2], one)


def test_what_moves_on_steadily_is_found_behind_what_hides_it():
    given = motions(2, 32, 40, dtype=torch.float32)
    ahead = torch.ones(2, 1, 32, 40, dtype=torch.bool)
    ahead[:, :, 10:20, 12:24] = False
    given = Motions(given.forward, given.backward, ahead, torch.ones_like(ahead))
    wrong = torch.where(ahead, given.forward, 9.0)
    predicted = fit_motion(
        Motions(wrong, given.backward, ahead, given.behind),
        KEYS[:2],
        FitSettings(steps=200, stride=2),
    )
    hidden = ~ahead.expand_as(predicted)
    assert (predicted - given.forward)[hidden].abs().mean() < 0.2
    assert (wrong - given.forward)[hidden].abs().mean() > 5


def test_flow_that_is_not_finite_spoils_nothing_but_itself():
    given = motions()
    given.forward[0, :, 3, 4] = torch.nan
    given.backward[0, :, 6, 7] = torch.inf
    given.ahead[0, :, 3, 4] = given.behind[0, :, 6, 7] = False
    predicted = fit_motion(given, KEYS, FitSettings(steps=5))
    assert predicted.isfinite().all()
    given.ahead[0, :, 3, 4] = True
    labels = fill(given, predicted, 0)
    assert labels.flow.isfinite().all()
    assert not labels.valid[0, 0, 3, 4]


# --- labels -------------------------------------------------------------------------------------


def test_a_label_is_forward_where_seen_and_predicted_where_only_the_frame_before_shows_it():
    ahead = torch.tensor([[True, True], [False, False]]).view(1, 1, 2, 2)
    behind = torch.tensor([[True, False], [True, False]]).view(1, 1, 2, 2)
    forward, predicted = torch.full((2, 1, 2, 2, 2), 1.0).unbind(0)
    predicted = 5 * predicted
    given = Motions(forward, -forward, ahead, behind)
    labels = fill(given, predicted, 0.25)
    assert labels.flow[0, 0].tolist() == [[1, 1], [5, 0]]
    assert labels.valid[0, 0].tolist() == [[True, True], [True, False]]
    assert labels.filled[0, 0].tolist() == [[False, False], [True, False]]
    unfitted = fill(given, predicted, 0.26)  # a quarter is seen both ways
    assert unfitted.valid[0, 0].tolist() == [[True, True], [False, False]]
    assert not unfitted.filled.any()


def test_pixels_are_seen_if_both_flows_agree_or_nobody_can_check_them():
    flow = torch.zeros(1, 2, 3, 8)
    flow[:, 0] = 2
    reverse = -flow
    reverse[0, 0, 1, 3] = 4  # contradicts the pixel that lands there
    settings = LabelSettings()
    expected = torch.ones(3, 8, dtype=torch.bool)
    expected[1, 1] = False
    assert torch.equal(seen(flow, reverse, settings)[0, 0], expected)
    lenient = LabelSettings(absolute=50)
    assert seen(flow, reverse, lenient).all()


class Counting:
    """Sees the difference of brightness as flow in x, and half of it on the way back."""

    def __init__(self):
        self.pairs = []
        self.iterations = set()

    def bidirectional(self, image1, image2, iterations=12):
        self.pairs += list(
            zip(*(image[:, 0, 0, 0].tolist() for image in (image1, image2)), strict=True)
        )
        self.iterations.add(iterations)
        change = (image2 - image1)[:, :2] * torch.tensor((1.0, 0.0)).view(1, 2, 1, 1)
        return change, -0.5 * change


def test_neighbouring_triplets_share_their_pairs():
    levels = torch.tensor((0.0, 1.0, 3.0, 7.0, 15.0))
    frames = levels.view(-1, 1, 1, 1).expand(-1, 3, 40, 40)
    network = Counting()
    settings = LabelSettings(iterations=5, pairs_at_once=3)
    found = find_motions(network, frames, [(0, 1, 2), (1, 2, 3), (2, 3, 4)], settings)
    assert network.pairs == [(0, 1), (1, 3), (3, 7), (7, 15)]
    assert network.iterations == {5}
    assert found.forward[:, 0, 0, 0].tolist() == [2, 4, 8]
    assert found.backward[:, 0, 0, 0].tolist() == [-0.5, -1, -2]
    # A flow and half of it back: off by 1, 2, 4 pixels, of which 0.8 and more are too much.
    assert found.ahead[:, 0, 0, 0].tolist() == [False, False, False]
    assert found.behind[:, 0, 20, 20].tolist() == [True, False, False]
    assert found.ahead[:, 0, 0, -1].all()  # leaves the frame
    assert not found.forward.requires_grad


# --- whether it helps ---------------------------------------------------------------------------


def clips(count, size):
    sample = render(Hyperparameters(), 3, list(range(count)), size=size, frames=3)
    return sample, sample.forward[:, 1], sample.visible_forward[:, 1]


def test_labels_are_better_where_a_corrupted_flow_was_not_visible():
    sample, truth, visible = clips(4, (64, 96))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    corrupted = torch.where(visible, truth, truth + 5 * noise)
    given = Motions(corrupted, sample.backward[:, 0], visible, sample.visible_backward[:, 0])
    settings = FitSettings(steps=150, stride=2)
    labels = fill(given, fit_motion(given, key(0, torch.arange(4)), settings), settings.least)
    assert torch.equal(labels.flow * visible, truth * visible)
    hidden = labels.filled
    assert torch.equal(hidden, ~visible & given.behind)
    before, after = (
        endpoint_error(flow, truth)[hidden].mean() for flow in (corrupted, labels.flow)
    )
    assert after < 0.5 * before


@pytest.mark.slow
def test_labels_are_better_than_the_flow_of_two_frames_where_it_is_not_visible():
    count = 16
    sample, truth, visible = clips(count, (96, 128))
    network = load("default-small")
    triplets = [(3 * number, 3 * number + 1, 3 * number + 2) for number in range(count)]
    settings = LabelSettings(iterations=12, fit=FitSettings(steps=200, stride=3))
    frames = sample.frames.flatten(0, 1)
    keys = key(0, torch.arange(count))
    labels = make_labels(network, frames, triplets, keys, settings)
    two_frames = find_motions(network, frames, triplets, settings).forward
    before, after = (endpoint_error(flow, truth) for flow in (two_frames, labels.flow))
    hidden = labels.filled & ~visible & stays_inside(truth)
    assert hidden.sum() > 1000
    assert after[hidden].mean() < 0.95 * before[hidden].mean()
    assert after[labels.filled].mean() < 0.95 * before[labels.filled].mean()
    elsewhere = labels.valid & ~labels.filled
    torch.testing.assert_close(after[elsewhere], before[elsewhere])
