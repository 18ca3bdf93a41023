import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision.models.optical_flow as torchvision_flow
from torch import Tensor, nn

from selfflow.raft import RAFT, padding, raft_large, raft_small, upsample_convex
from selfflow.raft_blocks import InstanceNorm


def twins(size: str) -> tuple[RAFT, nn.Module]:
    """Ours and torchvision's with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torchvision_flow, f"raft_{size}")(weights=None)
    ours = raft_small() if size == "small" else raft_large()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def images(height: int = 128, width: int = 136, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(batch, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    image = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return image, image.roll((1, 3), (2, 3))


def theirs_flows(network: nn.Module, image1: Tensor, image2: Tensor, count: int) -> list[Tensor]:
    return network(2 * image1 - 1, 2 * image2 - 1, num_flow_updates=count)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_every_prediction_and_gradient_equals_torchvisions(size: str, training: bool) -> None:
    ours, theirs = twins(size)
    ours.train(training)
    theirs.train(training)
    pair = images(batch=2)
    found = ours.predictions(*pair, 3)
    expected = theirs_flows(theirs, *pair, 3)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    sum(flow.square().mean() for flow in found).backward()
    sum(flow.square().mean() for flow in expected).backward()
    gradients = dict(ours.named_parameters())
    error = sum(
        (parameter.grad - gradients[name].grad).square().sum()
        for name, parameter in theirs.named_parameters()
    )
    scale = sum(parameter.grad.square().sum() for parameter in theirs.parameters())
    assert error.sqrt() < 1e-3 * scale.sqrt()
    for name, parameter in theirs.named_parameters():
        floor = 1e-5 * scale.sqrt()  # a bias before an instance norm has no gradient but noise
        assert (parameter.grad - gradients[name].grad).norm() < 0.01 * parameter.grad.norm() + floor
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, atol=1e-5, rtol=1e-4)


def test_the_instance_norm_variant_differs_only_in_its_context_encoder() -> None:
    variant, large = raft_large(norm="instance"), raft_large()
    missing = set(large.state_dict()) - set(variant.state_dict())
    assert missing
    assert all(name.startswith("context_encoder.") for name in missing)
    # 2,880: the scales and shifts of the batch norms, as in SMURF's parameter count.
    count = [sum(p.numel() for p in network.parameters()) for network in (variant, large)]
    assert count == [5_254_656, 5_257_536]
    assert variant(*images(), 1).isfinite().all()


@pytest.mark.parametrize("size", ["small", "large"])
def test_forward_and_backward_flow_equal_two_calls(size: str) -> None:
    network = twins(size)[0].eval()
    image1, image2 = images()
    with torch.no_grad():
        forward, backward = network.bidirectional(image1, image2, 3)
        torch.testing.assert_close(forward, network(image1, image2, 3), atol=1e-4, rtol=0)
        torch.testing.assert_close(backward, network(image2, image1, 3), atol=1e-4, rtol=0)
        both = network.predictions(image1, image2, 3, bidirectional=True)
    torch.testing.assert_close(both[-1], torch.cat((forward, backward)))


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_lookup_without_a_volume_gives_the_same_flow_and_gradient(size: str) -> None:
    network = twins(size)[0].eval()
    pair = images()
    results = []
    for volume_bytes in (10**9, 0):
        network.zero_grad()
        network.volume_bytes = volume_bytes
        flow = torch.cat(network.predictions(*pair, 2, bidirectional=True))
        flow.square().mean().backward()
        gradient = network.feature_encoder.conv.weight.grad
        results.append((flow.detach(), gradient.clone()))
    (flow1, gradient1), (flow2, gradient2) = results
    torch.testing.assert_close(flow1, flow2, atol=1e-4, rtol=0)
    assert (gradient1 - gradient2).norm() < 1e-3 * gradient1.norm()


@pytest.mark.parametrize("size", ["small", "large"])
def test_refinement_begins_at_the_initial_flow(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision's network with its second grid, where refinement begins, displaced."""
    ours, theirs = twins(size)
    ours.eval()
    theirs.eval()
    pair = images()
    coarse = torch.randn(1, 2, 16, 17)
    grid = torchvision_flow.raft.make_coords_grid
    made: list[Tensor] = []

    def displaced(*arguments: int, **named: object) -> Tensor:
        made.append(grid(*arguments, **named) + (coarse if made else 0))
        return made[-1]

    monkeypatch.setattr(torchvision_flow.raft, "make_coords_grid", displaced)
    initial = 8 * coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.no_grad():
        expected = theirs_flows(theirs, *pair, 2)
        found = ours.predictions(*pair, 2, initial=initial)
        last = ours(*pair, 2, initial=initial)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert torch.equal(last, found[-1])


def test_zero_initial_flow_is_none_and_directions_have_their_own() -> None:
    torch.manual_seed(0)
    network = raft_small().eval()
    image1, image2 = images(100, 90)
    initial = torch.randn(2, 2, 100, 90)
    with torch.no_grad():
        plain = network(image1, image2, 2)
        assert torch.equal(network(image1, image2, 2, initial=torch.zeros(1, 2, 100, 90)), plain)
        both = network.predictions(image1, image2, 2, True, initial)[-1]
        forward = network(image1, image2, 2, initial[:1])
        backward = network(image2, image1, 2, initial[1:])
    torch.testing.assert_close(both, torch.cat((forward, backward)), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="initial"):
        network(image1, image2, 2, initial[..., :-1])


@pytest.mark.parametrize("shape", [(131, 142), (70, 45), (64, 64), (9, 300), (1, 1)])
def test_any_size_is_taken(shape: tuple[int, int]) -> None:
    network = twins("small")[0].eval()
    pair = [torch.rand(1, 3, *shape) for _ in range(2)]
    with torch.no_grad():
        flow = network(*pair, 2)
    assert flow.shape == (1, 2, *shape)
    assert flow.dtype == torch.float32
    assert flow.isfinite().all()


def test_padding_equals_torchvision_on_images_padded_by_hand() -> None:
    ours, theirs = twins("small")
    pair = images(141, 150)
    left, right, top, bottom = padding(141, 150)
    assert (left + 150 + right, top + 141 + bottom) == (152, 144)
    padded = [F.pad(image, (left, right, top, bottom), mode="replicate") for image in pair]
    with torch.no_grad():
        expected = theirs_flows(theirs, *padded, 2)[-1]
        found = ours(*pair, 2)
    cropped = expected[..., top : top + 141, left : left + 150]
    torch.testing.assert_close(found, cropped, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", ["small", "large"])
def test_bfloat16_autocast_stays_near_float32(size: str) -> None:
    network = twins(size)[0]
    pair = images(batch=2)
    full = network.predictions(*pair, 3)[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network.predictions(*pair, 3)[-1]
    assert half.dtype == torch.float32
    assert (full - half).abs().mean() < 0.05 * full.abs().mean()
    half.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_nothing_is_left_on_the_module() -> None:
    network = twins("large")[0].eval()

    def tensors() -> dict[str, set[str]]:
        return {
            name: {key for key, value in vars(module).items() if not key.startswith("_")}
            for name, module in network.named_modules()
        }

    before, weights = tensors(), {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        network.bidirectional(*images(), 2)
    assert tensors() == before
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())


def test_flow_is_upsampled_once_where_only_the_last_is_asked_for() -> None:
    network = twins("large")[0].eval()
    calls = []
    network.mask_predictor.register_forward_hook(lambda *_: calls.append(1))
    pair = images()
    with torch.no_grad():
        network(*pair, 3)
        assert len(calls) == 1
        network.predictions(*pair, 3)
    assert len(calls) == 1 + 3


def test_convex_upsampling_equals_its_formula() -> None:
    torch.manual_seed(0)
    flow = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    weights = torch.randn(1, 9 * 64, 3, 4, dtype=torch.float64)
    full = upsample_convex(flow, weights)
    padded = F.pad(8 * flow, (1, 1, 1, 1))
    shares = weights.view(9, 8, 8, 3, 4).softmax(0)
    for y in range(24):
        for x in range(32):
            share = shares[:, y % 8, x % 8, y // 8, x // 8]
            near = padded[0, :, y // 8 : y // 8 + 3, x // 8 : x // 8 + 3].reshape(2, 9)
            torch.testing.assert_close(full[0, :, y, x], near @ share)


def test_instance_norm_equals_torchs_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    x = (3 + 5 * torch.randn(2, 4, 6, 7, dtype=torch.float64)).requires_grad_()
    torch.testing.assert_close(InstanceNorm(4)(x), nn.InstanceNorm2d(4)(x))
    assert torch.autograd.gradcheck(InstanceNorm(4), x)


def test_wrong_inputs_are_refused() -> None:
    network = raft_small()
    image1, image2 = images()
    with pytest.raises(ValueError, match="sizes differ"):
        network(image1, image2[..., :-8])
    with pytest.raises(ValueError, match="iteration"):
        network(image1, image2, 0)
    with pytest.raises(ValueError, match="image1"):
        network(image1[0], image2[0])


@pytest.mark.slow
def test_two_full_hd_frames_take_less_than_4_gb() -> None:
    program = """
import resource, torch
from selfflow.raft import raft_large
network = raft_large().eval()
frame = torch.rand(1, 3, 1080, 1920)
with torch.no_grad():
    network.bidirectional(frame, frame, 1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) / 2**20 < 4
