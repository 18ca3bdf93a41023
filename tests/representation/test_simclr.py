from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from representation.correspondence import View
from representation.distortion import SIMCLR
from representation.method import Frames
from representation.methods.simclr import SimCLR
from representation.optimizer import peak_rate
from selfflow.runs.config import load

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
SMALL = {
    "method": "simclr",
    "views.height": 32,
    "views.width": 32,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "heads.hidden": 16,
    "heads.out": 8,
}


def small_method(**values: object) -> SimCLR:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return SimCLR(load(SimCLR.Settings, values=SMALL | dotted), CPU)


def test_the_defaults_are_the_papers():
    settings = load(SimCLR.Settings, values={"frames.batch_size": 4096})
    assert (settings.views.first, settings.views.second) == (SIMCLR, SIMCLR)
    assert (settings.heads.hidden, settings.heads.out) == (2048, 128)
    assert settings.simclr.temperature == 0.1
    assert settings.optimizer.kind == "lars"
    assert settings.optimizer.weight_decay == 1e-6
    assert peak_rate(settings) == pytest.approx(4.8)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_algorithm_1s_in_value_and_gradient(frames_of: MakeFrames, temperature: float):
    method = small_method(simclr__temperature=temperature)
    method.online.double()
    first, second = method.prepare(frames_of())
    batch = tuple(View(v.images.double(), v.to_frame, v.low, v.high) for v in (first, second))
    # In the order of the paper: both views of an image side by side, 2k - 1 and 2k.
    images = torch.stack((batch[0].images, batch[1].images), 1).flatten(0, 1)
    features = method.online["encoder"](images).mean((2, 3))[..., None, None]
    z = method.online["projector"](features)[..., 0, 0]

    def similarity(i: int, j: int) -> Tensor:
        return (z[i] @ z[j]) / (z[i].norm() * z[j].norm()) / temperature

    def loss(i: int, j: int) -> Tensor:
        others = [similarity(i, k).exp() for k in range(8) if k != i]
        return -(similarity(i, j).exp() / torch.stack(others).sum()).log()

    pairs = [loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(4)]
    expected = torch.stack(pairs).sum() / 8
    found = method.step(batch, 0)["loss"]
    torch.testing.assert_close(found, expected)
    inputs = [p for group in method.parameter_groups() for p in group["params"]]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_the_second_frame_is_seen_only_if_asked(frames_of: MakeFrames):
    frames = frames_of()
    one, two = (small_method(views__video=video).prepare(frames)[1] for video in (False, True))
    assert not torch.equal(one.images, two.images)
