import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from representation.distortion import MOCO_V2
from representation.matched_pixels import MatchedPair
from representation.method import Frames
from representation.methods.vader import VADeR
from representation.models import load as load_encoder
from representation.models import save
from representation.optimizer import new_optimizer, peak_rate
from representation.weights import read_checkpoint
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
OFFSET = 0.0  # of a ResNet's cells
MakeFrames = Callable[..., Frames]
SMALL = {
    "method": "vader",
    "frames.batch_size": 4,
    "views.height": 32,
    "views.width": 32,
    "views.pixels": 3,
    "vader.queued": 3,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "moco.queue": 30,
    "moco.parts": 2,
}


def small_method(**values: object) -> VADeR:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    method = VADeR(load(VADeR.Settings, values=SMALL | dotted), CPU)
    method.queue.push(torch.randn_like(method.queue.vectors))
    return method


def test_the_defaults_are_the_papers():
    settings = load(VADeR.Settings)
    views = settings.views
    assert (views.height, views.width, views.pixels) == (224, 224, 32)
    assert (views.first, views.second) == (MOCO_V2, MOCO_V2)
    assert (views.scale, views.sampling) == ((0.2, 1.0), "different")
    assert (settings.encoder.decoder, settings.encoder.stride) == ("fpn", 32)
    moco, own = settings.moco, settings.vader
    assert (moco.momentum, moco.temperature, moco.queue) == (0.999, 0.07, 65_536)
    assert (own.weight, own.queued) == (10, 32)
    optimizer = settings.optimizer
    assert (optimizer.kind, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.9, 1e-4)
    assert peak_rate(settings) == 3e-3


def rates(method: VADeR) -> dict[str, float]:
    """Return the learning rates at their peak, of each parameter of the encoder by name."""
    optimizer = new_optimizer(method.settings, method)
    peak = peak_rate(method.settings)
    found = {id(p): peak * g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    return {name: found.pop(id(p)) for name, p in method.encoder.named_parameters()}


def test_the_decoder_has_a_rate_of_its_own_and_so_has_an_encoder_with_first_weights(
    tmp_path, monkeypatch
):
    random = rates(small_method())
    assert set(random.values()) == {3e-3}
    given = str(save(tmp_path / "first.safetensors", small_method().encoder, {}))
    for method, slow in (
        (small_method(encoder__init=given), 3e-7),
        (small_method(encoder__init=given, vader__encoder_rate=0.5), 1.5e-3),
        (small_method(vader__encoder_rate=0.1), 3e-4),
    ):
        for name, rate in rates(method).items():
            assert rate == pytest.approx(3e-3 if name.startswith("decoder.") else slow)


def pixel(features: Tensor, x: float, y: float) -> Tensor:
    """Return a map's `(C, h, w)` unit vector at a pixel, read by hand."""
    height, width = features.shape[1:]
    column = min(max((x - OFFSET) / 4, 0), width - 1)
    row = min(max((y - OFFSET) / 4, 0), height - 1)
    left, top = min(int(column), width - 2), min(int(row), height - 2)
    across, down = column - left, row - top
    upper = features[:, top, left] * (1 - across) + features[:, top, left + 1] * across
    lower = features[:, top + 1, left] * (1 - across) + features[:, top + 1, left + 1] * across
    vector = upper * (1 - down) + lower * down
    return vector / vector.norm()


def doubled(pair: MatchedPair) -> MatchedPair:
    view1, view2 = (replace(v, images=v.images.double()) for v in (pair.view1, pair.view2))
    targets, positions = pair.targets.double(), pair.positions.double()
    return replace(pair, view1=view1, view2=view2, positions=positions, targets=targets)


def test_the_loss_is_equation_2_in_value_and_gradient(frames_of: MakeFrames):
    """With one part, so that the order of the keys does not matter."""
    method = small_method(moco__parts=1, moco__temperature=0.3, vader__queued=2)
    assert method.encoder.offset == OFFSET
    for module in method.modules.values():
        module.double()
    batch = doubled(method.prepare(frames_of()))
    queue = method.queue.vectors.clone()
    with torch.no_grad():
        for parameter in method.siamese.target.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    online = method.siamese.online["encoder"](batch.view1.images)
    target = copy.deepcopy(method.siamese.target)["encoder"](batch.view2.images).detach()
    losses, queued = [], []
    for image in range(4):
        for number in range(3):
            q = pixel(online[image], *batch.positions[image, :, 0, number].tolist())
            k = pixel(target[image], *batch.targets[image, :, 0, number].tolist())
            positive = (q @ k / 0.3).exp()
            negatives = sum((q @ other / other.norm() / 0.3).exp() for other in queue)
            losses.append(-(positive / (positive + negatives)).log())
            if number < 2:
                queued.append(k)
    expected = 10 * torch.stack(losses).mean()
    found = method.step(batch, 0)["loss"]
    torch.testing.assert_close(found, expected)
    inputs = [p for group in method.parameter_groups() for p in group["params"]]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)
    # The first two keys of each image are queued after they were compared.
    torch.testing.assert_close(method.queue.vectors[:8], torch.stack(queued))
    assert torch.equal(method.queue.vectors[8:], queue[8:])


def test_the_queue_holds_the_latest_keys_and_they_are_the_negatives(frames_of: MakeFrames):
    method = small_method()
    for step in range(3):
        batch = method.prepare(frames_of(first=4 * step))
        method.step(batch, step)
    assert method.queue.place == 6  # 36 keys in a ring of 30
    loss = method.step(batch, 3)["loss"]
    with torch.no_grad():
        method.queue.vectors.copy_(method.queue.vectors.roll(1, 1))
    assert method.step(batch, 3)["loss"] != loss


def test_keys_are_normalised_among_other_images_than_queries(frames_of: MakeFrames):
    """With parts a key depends on its own part of the shuffled batch, and on nothing else."""
    method = small_method(frames__batch_size=8, moco__parts=4)
    images = method.prepare(frames_of(8)).view2.images
    keys = method._target_features(images, 1)
    assert torch.equal(keys, method._target_features(images, 1))
    assert not torch.equal(keys, method._target_features(images, 2))
    neighbours = []
    for changed in range(8):
        other = images.clone()
        other[changed] = 1 - other[changed]
        moved = (method._target_features(other, 1) - keys).abs().amax((1, 2, 3)) > 1e-4
        neighbours.append(moved.nonzero()[:, 0].tolist())
    assert all(len(found) == 2 and i in found for i, found in enumerate(neighbours))
    assert neighbours != [[2 * (i // 2), 2 * (i // 2) + 1] for i in range(8)]


def test_one_part_is_one_normalisation_in_order(frames_of: MakeFrames):
    method = small_method(moco__parts=1)
    images = method.prepare(frames_of()).view2.images
    with torch.no_grad():
        expected = method.siamese.target["encoder"](images)
    assert torch.equal(method._target_features(images, 0), expected)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in method.encoder.decoder.modules())


def test_what_is_watched_is_of_the_batch(frames_of: MakeFrames):
    method = small_method(views__sampling="same")
    terms = method.step(method.prepare(frames_of()), 0)
    assert terms["valid"] == 1
    method = small_method()
    batch = method.prepare(frames_of())
    terms = method.step(batch, 0)
    assert terms["valid"] == batch.valid.mean() < 1
    with torch.no_grad():
        last = method.siamese.target["encoder"].decoder.last
        last.weight.zero_()
        last.bias.fill_(1.0)
    assert method.step(batch, 0)["spread"] < 1e-3


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


def test_the_decoder_is_kept_and_can_be_started_with(tmp_path):
    """From the model store, and out of a run's checkpoint, with the online network's weights."""
    method = small_method()
    path = save(tmp_path / "vader.safetensors", method.encoder, {})
    checkpoint = tmp_path / "run.pt"
    states = {n: m.state_dict() for n, m in method.modules.items()}
    torch.save({"modules": states}, checkpoint)
    assert any("decoder" in name for name in read_checkpoint(checkpoint))
    with torch.no_grad():
        for parameter in method.siamese.target.parameters():
            parameter.zero_()
    again = [small_method(encoder__init=str(file)).encoder for file in (path, checkpoint)]
    for encoder in (load_encoder(path), *again):
        for name, value in method.encoder.state_dict().items():
            assert torch.equal(encoder.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__decoder": "none"}, r"encoder\.decoder must be fpn"),
        ({"views__pixels": 65}, r"views\.pixels = 65, but a view has 64"),
        ({"vader__queued": 4}, r"vader\.queued = 4, but views\.pixels = 3"),
        ({"moco__parts": 3}, r"moco\.parts"),
    ],
)
def test_settings_that_cannot_work_are_an_error(changes: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        small_method(**changes)
    small_method(views__pixels=64)
