import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from representation.correspondence import View
from representation.distortion import BYOL_1, BYOL_2
from representation.method import Frames
from representation.methods.byol import BYOL
from representation.optimizer import learning_rate, peak_rate
from selfflow.runs.config import load

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
SMALL = {
    "method": "byol",
    "views.height": 32,
    "views.width": 32,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "heads.hidden": 16,
    "heads.out": 8,
    "loop.steps": 100,
}


def small_method(**values: object) -> BYOL:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return BYOL(load(BYOL.Settings, values=SMALL | dotted), CPU)


def test_the_defaults_are_the_papers():
    settings = BYOL.Settings()
    assert (settings.views.height, settings.views.width) == (224, 224)
    assert (settings.views.first, settings.views.second) == (BYOL_1, BYOL_2)
    assert (settings.heads.hidden, settings.heads.out) == (4096, 256)
    assert settings.byol.momentum == 0.996
    assert settings.optimizer.kind == "lars"
    assert settings.optimizer.weight_decay == 1.5e-6
    large = load(BYOL.Settings, values={"frames.batch_size": 4096, "optimizer.warmup": 10})
    assert peak_rate(large) == pytest.approx(0.2 * 4096 / 256)
    assert learning_rate(large, 4) == pytest.approx(peak_rate(large) / 2)


def in_float64(method: BYOL, batch: tuple[View, View]) -> tuple[View, View]:
    for module in method.modules.values():
        module.double()
    first, second = (View(v.images.double(), v.to_frame, v.low, v.high) for v in batch)
    return first, second


def test_the_loss_is_the_sum_of_both_directions_in_value_and_gradient(frames_of: MakeFrames):
    method = small_method()
    batch = in_float64(method, method.prepare(frames_of()))
    online, target = method.siamese.online, copy.deepcopy(method.siamese.target)
    with torch.no_grad():
        for parameter in method.siamese.target.parameters():
            parameter.mul_(1.1)
        for slow, copied in zip(
            method.siamese.target.parameters(), target.parameters(), strict=True
        ):
            copied.copy_(slow)

    def vector(network: torch.nn.ModuleDict, view: View) -> Tensor:
        return network["projector"](network["encoder"](view.images).mean((2, 3))[..., None, None])

    expected = torch.zeros((), dtype=torch.float64)
    for here, there in ((0, 1), (1, 0)):
        p = method.predictor(vector(online, batch[here]))[..., 0, 0]
        z = vector(target, batch[there])[..., 0, 0].detach()
        for one, other in zip(p, z, strict=True):
            difference = one / one.norm() - other / other.norm()
            expected = expected + difference.square().sum() / len(p)
            cosine = (one @ other) / one.norm() / other.norm()
            torch.testing.assert_close(difference.square().sum(), 2 - 2 * cosine)
    found = method.step(batch, 0)["loss"]
    torch.testing.assert_close(found, expected)
    inputs = [p for group in method.parameter_groups() for p in group["params"]]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_the_target_follows_after_the_step():
    method = small_method(byol__momentum=0.9)
    with torch.no_grad():
        for parameter in method.siamese.online.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.siamese.target.parameters()]
    method.after_step(50)
    for old, slow, fast in zip(
        before,
        method.siamese.target.parameters(),
        method.siamese.online.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(slow, 0.95 * old + 0.05 * fast)


def test_flowes_variants_are_settings_of_the_views(frames_of: MakeFrames):
    frames = frames_of()
    patch = small_method(views__pre_crop=20).prepare(frames)
    video = small_method(views__pre_crop=20, views__video=True).prepare(frames)
    for batch in (patch, video):
        low = torch.minimum(batch[0].low, batch[1].low)
        high = torch.maximum(batch[0].high, batch[1].high)
        assert (high - low <= 20.01).all()
    assert torch.equal(patch[0].images, video[0].images)
    assert not torch.equal(patch[1].images, video[1].images)
