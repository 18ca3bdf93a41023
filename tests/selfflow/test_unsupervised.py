"""Training without labels: crops with surroundings, each term, the timetable, and learning."""

import numpy as np
import pytest
import torch

from benchmarks.selfsupervision import moving_windows, twins
from selfflow.augment import Augmentation, Geometry
from selfflow.correlation import AllPairs, correlate, volume_numbers
from selfflow.evidence import Evidence
from selfflow.frames import FrameBatches, FrameCache, PairAddress
from selfflow.objective import (
    ObjectiveSettings,
    student_flow,
    student_mask,
    student_view,
    swap,
    teacher_mask,
)
from selfflow.photometry import Colors
from selfflow.raft import raft_large, raft_small
from selfflow.runs.loop import LoopSettings, fit
from selfflow.sequences import Sequence
from selfflow.unsupervised import SelfSupervised, SelfSupervision, freeze_batch_norm
from selfflow.video import Target
from selfflow.windows import WindowBatches, Windows

STILL = Geometry(
    flip_horizontal=0, flip_vertical=0, zoom=(0, 0), stretch=0, rotation=0,
    relative_zoom=0, relative_rotation=0, relative_translation=0,
)  # fmt: skip
PLAIN = Colors(
    brightness=0, contrast=0, saturation=0, hue=0, gamma=0, asymmetric=0, noise=0, erase=0
)
MOTION = (4, 2)  # pixels right and down, from one frame to the next


class Panning(Sequence):
    """A smooth texture that moves by MOTION from frame to frame."""

    def __init__(self, name, height, width, seed=0):
        self.name, self.shape = name, (height, width)
        noise = np.random.default_rng(seed).random((200, 200, 3), np.float32)
        noise = torch.from_numpy(noise).permute(2, 0, 1)[None]
        noise = torch.nn.functional.avg_pool2d(noise, 5, stride=1)
        noise = (noise - noise.mean()) / noise.std() * 0.2 + 0.5
        self.texture = (noise[0].permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()

    def __len__(self):
        return 6

    def frame(self, index):
        top, left = 40 - MOTION[1] * index, 40 - MOTION[0] * index
        return self.texture[top : top + self.shape[0], left : left + self.shape[1]]


def batches(augmentation=None, crop=(64, 64), margin=(16, 24), size=2, seed=0):
    target = Target("panning", (Panning("a", 96, 112), Panning("b", 80, 100, seed=1)))
    pairs = [PairAddress(s.name, i, i + 1) for s in target.sequences for i in range(5)]
    frames = FrameBatches(FrameCache(target), pairs, seed, size)
    augmentation = augmentation or Augmentation(geometry=STILL, colors=PLAIN)
    return WindowBatches(frames, augmentation, crop, margin)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return raft_small()


def test_windows_are_the_frames_around_their_crops():
    source = batches()
    batch = source(3)
    assert batch.plain1.shape == (2, 3, 64, 64)
    assert batch.around1.shape == (2, 3, 96, 112)
    for b, address in enumerate(source.frames.addresses(3)):
        frame = source.frames.cache.frame(address.sequence, address.first) / 255
        rows, columns = (batch.known1[b, 0].any(1 - axis).sum().item() for axis in (0, 1))
        known = batch.around1[b][:, batch.known1[b, 0]].view(3, rows, columns)
        places = [
            (y, x)
            for y in range(frame.shape[1] - rows + 1)
            for x in range(frame.shape[2] - columns + 1)
            if (frame[:, y : y + rows, x : x + columns] - known).abs().max() < 1e-3
        ]
        assert len(places) == 1
        unknown = batch.around1[b][:, ~batch.known1[b, 0]]
        assert (unknown.abs() < 1e-3).all()
    torch.testing.assert_close(batch.seen1, batch.plain1, atol=1e-5, rtol=0)


def test_colours_change_what_is_seen_and_nothing_else():
    plain, changed = batches()(0), batches(Augmentation(geometry=STILL))(0)
    torch.testing.assert_close(changed.around1, plain.around1)
    torch.testing.assert_close(changed.around2, plain.around2)
    assert (changed.seen1 - plain.seen1).abs().mean() > 0.01


def test_a_batch_depends_on_seed_and_step_alone():
    one, other = batches(Augmentation()), batches(Augmentation())
    other(0)
    assert torch.equal(one(5).seen2, other(5).seen2)
    assert torch.equal(one(5).around1, other(5).around1)
    assert not torch.equal(one(5).seen2, one(6).seen2)


def test_the_loss_weighs_terms_and_iterations(network):
    settings = SelfSupervision(
        iterations=3,
        gamma=0.5,
        distillation_start=0,
        distillation_ramp=0,
        terms=ObjectiveSettings(photometric=2, smoothness=3, distillation=5),
    )
    batch = batches(Augmentation())(1)
    task = SelfSupervised(network, settings, 10)
    result = task.step(batch, 4)
    with torch.no_grad():
        flows = network.predictions(batch.seen1, batch.seen2, 3, bidirectional=True)
        teacher = torch.cat(network.bidirectional(batch.plain1, batch.plain2, 3))
        views = student_view(batch.seen1), student_view(batch.seen2)
        students = network.predictions(views[0], views[1], 3, bidirectional=True)
        evidence, expected = Evidence.of(batch, smoothness_order=1), 0
        for i in range(3):
            part = evidence.terms(flows[i], "consistency")
            mask = teacher_mask(teacher, swap(teacher), settings.terms)
            mask = mask * student_mask(students[i], swap(students[i]), settings.terms)
            distance = ((student_flow(teacher) - students[i]).square() + 1e-6).sqrt()
            total = 2 * part["photometric"] + 3 * part["smoothness"] + 5 * (mask * distance).mean()
            expected = expected + 0.5 ** (2 - i) * total
    torch.testing.assert_close(result["loss"].detach(), expected)
    assert result["loss"].requires_grad


def test_a_step_equals_six_calls_of_torchvisions_raft():
    torch.manual_seed(0)
    ours, theirs = twins(iterations=2)
    batch = moving_windows(1, (128, 128), (8, 8))
    loss, reference = ours.step(batch, 9)["loss"], theirs.loss(batch)
    torch.testing.assert_close(loss, reference, atol=1e-4, rtol=1e-4)
    loss.backward()
    reference.backward()
    expected = dict(theirs.network.named_parameters())
    for name, parameter in ours.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-3, rtol=1e-2)


def test_students_apart_are_the_same_as_together(network):
    settings = SelfSupervision(iterations=2, distillation_start=0, distillation_ramp=0)
    task, batch = SelfSupervised(network, settings, 10), batches(Augmentation())(1)
    seen = []
    original = network.predictions
    network.predictions = lambda *a, **k: seen.append(len(a[0])) or original(*a, **k)
    losses = []
    for volume_bytes in (network.volume_bytes, 10_000):
        network.volume_bytes = volume_bytes
        losses.append(task.step(batch, 9)["loss"])
    assert seen == [4, 2, 2]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("holds", [True, False])
def test_what_is_held_in_memory_is_known_beforehand(network, holds):
    network.volume_bytes = 4 * volume_numbers(2, 8, 9, both=True) - (not holds)
    assert network.holds_volume(2, 64, 70) is holds
    features = torch.rand(2, 4, 8, 9)
    for one in correlate(features, features, 3, volume_bytes=network.volume_bytes, both=True):
        assert isinstance(one.source, AllPairs) is holds


def test_a_step_in_half_precision_is_close_to_the_exact_one(network):
    settings = SelfSupervision(iterations=2, distillation_start=0, distillation_ramp=0)
    task, batch = SelfSupervised(network, settings, 10), batches(Augmentation())(1)
    exact = task.step(batch, 9)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.step(batch, 9)["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_timetable(network):
    settings = SelfSupervision(
        iterations=1, occlusion_start=0.5, distillation_start=0.6, distillation_ramp=0.2
    )
    task = SelfSupervised(network, settings, 100)
    strengths = [task._distillation_strength(step) for step in (0, 60, 70, 80, 99)]
    assert strengths == pytest.approx([0, 0, 0.5, 1, 1])
    assert [task._occlusion(step) for step in (0, 49, 50)] == ["none", "none", "consistency"]


def test_the_teacher_gets_no_gradient(network):
    batch = batches(Augmentation())(0)
    task = SelfSupervised(
        network, SelfSupervision(iterations=1, distillation_start=0, distillation_ramp=0), 10
    )
    calls = []
    original = network.bidirectional
    network.bidirectional = lambda *a: calls.append(torch.is_grad_enabled()) or original(*a)
    task.step(batch, 0)["loss"].backward()
    assert calls == [False]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_training_explains_the_frames_better(network):
    source = batches(size=2, crop=(64, 64))
    settings = SelfSupervision(iterations=3, terms=ObjectiveSettings(smoothness=0.1))
    task = SelfSupervised(network, settings, 1000)
    fixed = source(0)
    before = task.step(fixed, 0)["loss"].item()
    optimizer = torch.optim.AdamW(network.parameters())
    loop = LoopSettings(steps=16)
    fit(task, lambda step: fixed, optimizer=optimizer, learning_rate=lambda s: 5e-4, settings=loop)
    after = task.step(fixed, 0)["loss"].item()
    assert after < before - 0.1


def test_pictures_show_frames_flow_and_what_it_explains(network):
    task = SelfSupervised(network, SelfSupervision(iterations=1), 10)
    assert task.pictures() == {}
    batch = batches()(0)
    task.step(batch, 0)
    forward = torch.tensor(MOTION).float().view(1, 2, 1, 1).expand(1, 2, 64, 64)
    task._last = (batch.first(), torch.cat((forward, -forward)))
    (picture,) = task.pictures().values()
    assert picture.shape == (3, 2 * 64, 3 * 64)
    cells = picture.unflatten(1, (2, 64)).unflatten(3, (3, 64)).permute(1, 3, 0, 2, 4)
    torch.testing.assert_close(cells[0, 0], batch.seen1[0])
    torch.testing.assert_close(cells[0, 1], batch.seen2[0])
    visible, warped, difference = cells[1]
    assert visible.mean() > 0.9
    # The true motion makes frame 1 of frame 2 (to the rounding of bytes) wherever it is visible.
    assert (visible * (warped - batch.plain1[0])).abs().max() < 0.02
    assert (visible * difference).max() < 0.02


def test_frozen_batch_norms_keep_their_statistics():
    network = raft_large().train()
    freeze_batch_norm(network)
    before = {k: v.clone() for k, v in network.named_buffers() if "running" in k}
    assert before
    network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), 1)
    assert all(torch.equal(v, before[k]) for k, v in network.named_buffers() if "running" in k)


def test_a_batch_moves_as_a_whole():
    moved = batches()(0).to("meta")
    assert isinstance(moved, Windows)
    assert moved.plain1.device.type == moved.known2.device.type == "meta"
