"""A step of self-supervised training beside the same step made of six calls of torchvision's RAFT.

Student, teacher and the student that sees less, each forward and backward: torchvision's network
takes a pair and gives one direction, so that is six calls, and each flow of each iteration is
judged by itself with the same loss functions. Ours shares what can be shared. Both start from the
same weights and run in turn; loss and gradient are compared before anything is timed.

The second part trains on frames from files, and tells which share of the time a step waits.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision.models.optical_flow as torchvision_flow
from torch import Tensor, nn

from benchmarks.raft import DEVICE, interleaved
from selfflow.census import census
from selfflow.flow import grid_like, sample, stays_inside
from selfflow.frames import FrameBatches, FrameCache, PairAddress
from selfflow.io import write_image
from selfflow.losses import distillation, inner, masked_mean, smoothness
from selfflow.objective import student_flow, student_mask, student_view, teacher_mask, unoccluded
from selfflow.raft import raft_small
from selfflow.runs.loop import LoopSettings, fit
from selfflow.supervised import adamw
from selfflow.unsupervised import SelfSupervised, SelfSupervision
from selfflow.unsupervised_config import SMURF_AUGMENTATION
from selfflow.video import open_target
from selfflow.windows import WindowBatches, Windows

STEPS = 10  # of the training whose last step, with all its terms, is measured


@dataclass(frozen=True)
class SixCalls:
    """The step as it is put together from a network that gives one flow for one pair."""

    network: nn.Module
    settings: SelfSupervision

    def loss(self, batch: Windows) -> Tensor:
        """Return the loss of a step in which every term counts in full."""
        settings, terms = self.settings, self.settings.terms
        forward = self._flows(batch.seen1, batch.seen2)
        backward = self._flows(batch.seen2, batch.seen1)
        with torch.no_grad():
            teachers = (
                self._flows(batch.plain1, batch.plain2)[-1],
                self._flows(batch.plain2, batch.plain1)[-1],
            )
        views = [student_view(seen, terms.student_margin) for seen in (batch.seen1, batch.seen2)]
        forward_view = self._flows(views[0], views[1])
        backward_view = self._flows(views[1], views[0])
        total = batch.seen1.new_zeros(())
        for i in range(settings.iterations):
            part = self._explain(batch, (forward[i], backward[i]))
            part = part + terms.distillation * self._distil(
                teachers, (forward_view[i], backward_view[i])
            )
            total = total + settings.gamma ** (settings.iterations - 1 - i) * part
        return total

    def _flows(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        flows: list[Tensor] = self.network(
            2 * image1 - 1, 2 * image2 - 1, num_flow_updates=self.settings.iterations
        )
        return flows

    def _explain(self, batch: Windows, flows: tuple[Tensor, Tensor]) -> Tensor:
        """Return photometric and smoothness term of one iteration's flow in both directions."""
        terms, (rows, columns) = self.settings.terms, batch.margin
        penalties, masks, bends = [], [], []
        for image, other, known, flow, reverse in (
            (batch.plain1, batch.around2, batch.known2, flows[0], flows[1]),
            (batch.plain2, batch.around1, batch.known1, flows[1], flows[0]),
        ):
            target = grid_like(flow) + flow + flow.new_tensor((columns, rows)).view(1, 2, 1, 1)
            with torch.no_grad():
                visible = unoccluded(flow, reverse, terms.occlusion)
                visible = torch.where(stays_inside(flow), visible, 1)
                visible = visible * (sample(known.to(flow.dtype), target) > 0.999)
            penalties.append(census(image, sample(other, target)))
            masks.append(inner(visible, 3))
            bends.append(smoothness(image, flow, terms.smoothness_order).mean())
        photometric = masked_mean(torch.cat(penalties), torch.cat(masks))
        return terms.photometric * photometric + terms.smoothness * (bends[0] + bends[1]) / 2

    def _distil(self, teachers: tuple[Tensor, Tensor], flows: tuple[Tensor, Tensor]) -> Tensor:
        """Return how far one iteration's flow is from the teacher's, in both directions."""
        terms = self.settings.terms
        losses = []
        for here, there in ((0, 1), (1, 0)):
            with torch.no_grad():
                mask = teacher_mask(teachers[here], teachers[there], terms)
                mask = mask * student_mask(flows[here], flows[there], terms)
                target = student_flow(teachers[here], terms.student_margin)
            losses.append(distillation(target, flows[here], mask).mean())
        return (losses[0] + losses[1]) / 2


def twins(iterations: int) -> tuple[SelfSupervised, SixCalls]:
    """Return our step and the one of six calls, with the same weights."""
    settings = SelfSupervision(
        iterations=iterations, occlusion_start=0, distillation_start=0, distillation_ramp=0
    )
    theirs = torchvision_flow.raft_small(weights=None).to(DEVICE).train()
    ours = raft_small().to(DEVICE).train()
    ours.load_state_dict(theirs.state_dict())
    return SelfSupervised(ours, settings, STEPS), SixCalls(theirs, settings)


def moving_windows(batch: int, crop: tuple[int, int], margin: tuple[int, int]) -> Windows:
    """Return windows of smooth noise that moves by whole pixels, colours slightly changed."""
    height, width = (side + 2 * more for side, more in zip(crop, margin, strict=True))
    noise = torch.rand(batch, 3, height + 12, width + 12, device=DEVICE)
    noise = nn.functional.avg_pool2d(noise, 5, stride=1)
    around1, around2 = noise[..., 4:-4, 4:-4], noise[..., 2:-6, 6:-2]
    known = torch.ones_like(around1[:, :1], dtype=torch.bool)
    plain = Windows(around1, around2, around1, around2, known, known, margin)
    seen1, seen2 = 0.9 * plain.plain1, 0.9 * plain.plain2 + 0.05
    return Windows(seen1, seen2, around1, around2, known, known, margin)


def _backward(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def step() -> Tensor:
        network.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return step


def one_step(batch: int, crop: tuple[int, int], iterations: int, repeats: int) -> dict:
    """Measure a step with all its terms: seconds of each, and how many times as fast ours is."""
    windows = moving_windows(batch, crop, (16, 24))
    ours, theirs = twins(iterations)
    steps = {
        "torchvision, six calls": _backward(theirs.network, lambda: theirs.loss(windows)),
        "selfflow": _backward(ours.network, lambda: ours.step(windows, STEPS - 1)["loss"]),
    }
    losses = {name: step().item() for name, step in steps.items()}
    gradients = [
        torch.cat([p.grad.flatten() for _, p in sorted(network.named_parameters())])
        for network in (theirs.network, ours.network)
    ]
    seconds = interleaved(dict(steps), repeats)
    slow, fast = seconds.values()
    return {
        **{f"{name}, loss": round(value, 6) for name, value in losses.items()},
        "relative difference of the losses": _relative(*map(torch.tensor, losses.values())),
        "relative difference of the gradients": _relative(*gradients),
        **{f"{name}, seconds": round(value, 4) for name, value in seconds.items()},
        "times as fast": round(slow / fast, 3),
    }


def _relative(reference: Tensor, value: Tensor) -> float:
    return float(f"{((value - reference).norm() / reference.norm()).item():.2e}")


def waiting(steps: int = 12, short_side: int = 160) -> dict:
    """Train on frames of Sintel's size, which are decoded, reduced and kept; tell what waits.

    The frames lie in files, as many as are used, so that in the first steps nearly every frame is
    decoded: the share of a longer training, in which frames come again, is smaller.
    """
    crop, margin, batch = (128, 160), (16, 24), 2
    with tempfile.TemporaryDirectory() as folder:
        _write_film(Path(folder), 2 * batch * steps, (436, 1024))
        target = open_target(folder)
        (sequence,) = target.sequences
        pairs = [PairAddress(sequence.name, k, k + 1) for k in range(0, len(sequence) - 1, 2)]
        frames = FrameBatches(FrameCache(target, short_side), pairs, 0, batch, device=DEVICE)
        task = twins(6)[0]
        result = fit(
            task,
            WindowBatches(frames, SMURF_AUGMENTATION, crop, margin),
            optimizer=adamw(task.network, weight_decay=0.0),
            learning_rate=lambda step: 1e-4,
            settings=LoopSettings(steps=steps),
        )
    return {
        "seconds a step": round(result.seconds / steps, 4),
        "share of it spent waiting": round(result.waited / result.seconds, 4),
    }


def _write_film(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write PNG frames of a texture that moves by three pixels a frame."""
    height, width = size
    noise = torch.rand(1, 3, height, width + 3 * count, generator=torch.manual_seed(0))
    texture = nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)[0].permute(1, 2, 0)
    picture = (255 * texture).numpy().astype(np.uint8)
    for number in range(count):
        left = 3 * number
        write_image(folder / f"{number:05d}.png", picture[:, left : left + width])


def measure() -> dict:
    """Return all figures of this file."""
    torch.manual_seed(0)
    return {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
        "threads": torch.get_num_threads(),
        "step of 2 crops of 128x160, 6 iterations": one_step(2, (128, 160), 6, repeats=9),
        "step of 1 crop of 256x320, 12 iterations": one_step(1, (256, 320), 12, repeats=3),
        "training on PNG frames of 436x1024, reduced to 160": waiting(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
