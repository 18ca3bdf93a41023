import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from representation.contrast import info_nce
from representation.correspondence import View
from representation.distortion import MOCO_V2
from representation.method import Frames
from representation.methods.moco import MoCo, check_parts
from representation.optimizer import peak_rate
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
SMALL = {
    "method": "moco",
    "frames.batch_size": 4,
    "views.height": 64,
    "views.width": 64,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "heads.hidden": 16,
    "heads.out": 8,
    "moco.queue": 10,
    "moco.parts": 2,
}


def small_method(**values: object) -> MoCo:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    method = MoCo(load(MoCo.Settings, values=SMALL | dotted), CPU)
    method.queue.push(torch.randn_like(method.queue.vectors))
    return method


def test_the_defaults_are_the_papers():
    settings = load(MoCo.Settings, values={"frames.batch_size": 256})
    assert (settings.views.first, settings.views.second) == (MOCO_V2, MOCO_V2)
    assert settings.views.scale == (0.2, 1.0)
    assert (settings.heads.hidden, settings.heads.out) == (2048, 128)
    own = settings.moco
    assert (own.momentum, own.temperature, own.queue, own.parts) == (0.999, 0.2, 65_536, 8)
    assert settings.optimizer.kind == "sgd"
    assert settings.optimizer.weight_decay == 1e-4
    assert peak_rate(settings) == pytest.approx(0.03)
    method = small_method()
    kinds = [type(layer) for layer in method.siamese.online["projector"]]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def vectors(network: nn.ModuleDict, images: Tensor) -> Tensor:
    return network["projector"](network["encoder"](images).mean((2, 3))[..., None, None])[..., 0, 0]


def test_the_loss_is_equation_1_in_value_and_gradient(frames_of: MakeFrames):
    """With one part, so that the order of the keys does not matter."""
    method = small_method(moco__parts=1, moco__temperature=0.3)
    for module in method.modules.values():
        module.double()
    batch = tuple(
        View(v.images.double(), v.to_frame, v.low, v.high) for v in method.prepare(frames_of())
    )
    queue = method.queue.vectors.clone()
    with torch.no_grad():
        for parameter in method.siamese.target.parameters():
            parameter.mul_(1.1)
    q = vectors(method.siamese.online, batch[0].images)
    k = vectors(copy.deepcopy(method.siamese.target), batch[1].images).detach()
    losses = []
    for query, key in zip(q, k, strict=True):
        query, key = query / query.norm(), key / key.norm()
        positive = (query @ key / 0.3).exp()
        negatives = sum((query @ other / other.norm() / 0.3).exp() for other in queue)
        losses.append(-(positive / (positive + negatives)).log())
    expected = torch.stack(losses).mean()
    found = method.step(batch, 0)["loss"]
    torch.testing.assert_close(found, expected)
    inputs = [p for group in method.parameter_groups() for p in group["params"]]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)
    # The keys are queued after they were compared, with length 1.
    torch.testing.assert_close(method.queue.vectors[:4], k / k.norm(dim=1, keepdim=True))
    assert torch.equal(method.queue.vectors[4:], queue[4:])


def test_the_queue_holds_the_latest_keys_and_they_are_the_negatives(frames_of: MakeFrames):
    method = small_method()
    for step in range(3):
        batch = method.prepare(frames_of(first=4 * step))
        method.step(batch, step)
    assert method.queue.place == 2  # 12 keys in a ring of 10
    loss = method.step(batch, 3)["loss"]
    with torch.no_grad():
        method.queue.vectors.copy_(method.queue.vectors.roll(1, 1))
    assert method.step(batch, 3)["loss"] != loss


def test_keys_of_the_batch_may_be_negatives_too(frames_of: MakeFrames):
    method = small_method(moco__parts=1, moco__in_batch=True, moco__temperature=0.3)
    batch = method.prepare(frames_of())
    q = vectors(copy.deepcopy(method.siamese.online), batch[0].images)
    k = vectors(copy.deepcopy(method.siamese.target), batch[1].images)
    queue = method.queue.negatives()
    expected = []
    for i in range(4):
        others = torch.cat((queue, k[[j for j in range(4) if j != i]]))
        expected.append(info_nce(q[i : i + 1], k[i : i + 1], others, 0.3).loss)
    torch.testing.assert_close(method.step(batch, 0)["loss"], torch.cat(expected).mean())


def test_keys_are_normalised_among_other_images_than_queries(frames_of: MakeFrames):
    """With parts a key depends on its own part of the shuffled batch, and on nothing else."""
    method = small_method(frames__batch_size=8, moco__parts=4)
    images = method.prepare(frames_of(8))[1].images
    keys = method._keys(images, 1).flatten(1)
    online = copy.deepcopy(method.siamese.online)
    with torch.no_grad():
        queries = vectors(online, images)
    # The networks are the same, so only the neighbours make the difference.
    assert not torch.allclose(keys, queries, atol=1e-4)
    assert not torch.equal(keys, method._keys(images, 2).flatten(1))
    assert torch.equal(keys, method._keys(images, 1).flatten(1))
    neighbours = []
    for changed in range(8):
        other = images.clone()
        other[changed] = 1 - other[changed]
        moved = (method._keys(other, 1).flatten(1) - keys).abs().amax(1) > 1e-5
        neighbours.append(moved.nonzero()[:, 0].tolist())
    assert all(len(found) == 2 and i in found for i, found in enumerate(neighbours))
    assert neighbours != [[2 * (i // 2), 2 * (i // 2) + 1] for i in range(8)]


def test_one_part_is_one_normalisation_in_order(frames_of: MakeFrames):
    method = small_method(moco__parts=1)
    images = method.prepare(frames_of())[1].images
    with torch.no_grad():
        expected = vectors(method.siamese.target, images)
    assert torch.equal(method._keys(images, 0).flatten(1), expected)


@pytest.mark.parametrize(("parts", "batch_size"), [(3, 4), (8, 4)])
def test_parts_that_do_not_divide_the_batch_are_an_error(parts: int, batch_size: int):
    with pytest.raises(UserError, match=r"moco\.parts"):
        check_parts(parts, batch_size)
    with pytest.raises(UserError, match=r"moco\.parts"):
        small_method(moco__parts=parts, frames__batch_size=batch_size)
    check_parts(1, batch_size)
    check_parts(2, batch_size)


def test_the_target_follows_with_a_fixed_momentum():
    method = small_method(moco__momentum=0.9)
    with torch.no_grad():
        for parameter in method.siamese.online.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.siamese.target.parameters()]
    method.after_step(900)
    for old, slow, fast in zip(
        before,
        method.siamese.target.parameters(),
        method.siamese.online.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(slow, 0.9 * old + 0.1 * fast)
