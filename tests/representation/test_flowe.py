from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.correspondence import View, correspondence
from representation.encoder import cell_positions, read_features
from representation.lars import Lars
from representation.method import Frames
from representation.methods.flowe import FlowE, Match, equivariance_loss
from selfflow import affine
from selfflow.flow import pixel_grid, sample
from selfflow.random import key
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
KEYS, SIZES = key(0, torch.arange(3)), torch.tensor((48, 64)).expand(3, 2)
SMALL = {
    "views.height": 32,
    "views.width": 48,
    "encoder.architecture": "timm/test_resnet",
    "heads.hidden": 16,
    "heads.out": 8,
    "loop.steps": 100,
    "flowe.loss_at": "cells",
}


def small_method(**values: object) -> FlowE:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return FlowE(load(FlowE.Settings, values=SMALL | dotted), CPU)


def frames(seed: int = 0, flow: tuple[float, float] | None = (0.0, 0.0)) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(3, 3, 12, 16, generator=generator)
    image = F.interpolate(small, (48, 64), mode="bicubic", align_corners=False).clamp(0, 1)
    if flow is None:
        return Frames(image, image, KEYS, SIZES)
    forward = torch.tensor(flow).view(1, 2, 1, 1).expand(3, 2, 48, 64)
    return Frames(
        image,
        image.roll((int(flow[1]), int(flow[0])), (2, 3)),
        KEYS,
        SIZES,
        forward,
        -forward,
    )


def test_the_loss_equals_a_loop_over_positions_in_value_and_gradient():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64)
    u = cell_positions(4, 6, 8).double()
    targets = torch.rand(2, 2, 4, 6, generator=generator, dtype=torch.float64) * 24
    valid = torch.rand(2, 1, 4, 6, generator=generator) < 0.6
    total, count = torch.zeros((), dtype=torch.float64), 0
    for b in range(2):
        for i in range(4):
            for j in range(6):
                if not valid[b, 0, i, j]:
                    continue
                x, y = (targets[b, :, i, j] / 8).tolist()
                left, top = min(int(x), 4), min(int(y), 2)
                a, c = x - left, y - top
                read = (
                    (1 - a) * (1 - c) * z[b, :, top, left]
                    + a * (1 - c) * z[b, :, top, left + 1]
                    + (1 - a) * c * z[b, :, top + 1, left]
                    + a * c * z[b, :, top + 1, left + 1]
                )
                one, two = p[b, :, i, j] / p[b, :, i, j].norm(), read / read.norm()
                total = total + (one - two).square().sum()
                count += 1
    expected = total / count
    found = equivariance_loss(p, z, Match(u, targets, valid), 8)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(expected, p)
    (found_gradient,) = torch.autograd.grad(found, p)
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-4, atol=1e-6)


def test_reading_directly_is_algorithm_1s_upsampling_and_warping():
    z = torch.randn(1, 4, 5, 7, dtype=torch.float64)
    upsampled = read_features(z, pixel_grid(40, 56, dtype=torch.float64), 8)
    targets = torch.rand(1, 2, 30, 30, dtype=torch.float64) * torch.tensor((55, 39)).view(
        1, 2, 1, 1
    )
    torch.testing.assert_close(sample(upsampled, targets), read_features(z, targets, 8))


def view_of(map_to_frame: Tensor, height: int, width: int) -> View:
    far = torch.full((1, 2), 1e4)
    return View(torch.zeros(1, 3, height, width), map_to_frame, -far, far)


def test_affine_only_equals_analytic_sampling():
    """Features that are a known function of the frame are aligned by T, at cells and at pixels."""

    def feature(positions: Tensor) -> Tensor:
        x, y = positions[:, :1], positions[:, 1:]
        channels = [torch.sin(x / 60 + k) + torch.cos(y / 50 - 2 * k) for k in range(6)]
        return torch.cat(channels, 1)

    centre = torch.tensor((63.5, 47.5))
    map1 = affine.similarity(torch.tensor([0.9]), torch.tensor([0.3]), centre)
    map2 = affine.similarity(torch.tensor([1.2]), torch.tensor([-0.2]), centre)
    view1, view2 = view_of(map1, 96, 128), view_of(map2, 96, 128)
    cells = cell_positions(12, 16, 8)
    p, z = (feature(affine.apply(m, cells)) for m in (map1, map2))
    losses = []
    for positions in (cells, pixel_grid(89, 121)):
        targets, valid = correspondence(view1, view2, positions)
        expected = affine.apply(affine.invert(map2), affine.apply(map1, positions))
        torch.testing.assert_close(targets, expected, atol=1e-3, rtol=0)
        # Beyond the last cell nothing is known but the last cell.
        inner = (targets <= torch.tensor((120.0, 88.0)).view(1, 2, 1, 1)).all(1, keepdim=True)
        match = Match(positions, targets, valid & inner)
        assert 0.4 < match.valid.float().mean() < 1
        losses.append(equivariance_loss(p, z, match, 8).item())
        off = Match(positions, targets + 16, valid & inner)
        assert equivariance_loss(p, z, off, 8) > 100 * losses[-1]
    # Both are zero but for interpolation.
    assert max(losses) < 1e-3


def test_both_places_of_the_loss_agree_on_affine_only_input():
    batch = frames(flow=None)
    torch.manual_seed(0)
    values = {}
    for place in ("cells", "pixels"):
        method = small_method(
            flowe__flow=False,
            flowe__loss_at=place,
            encoder__architecture="resnet18",
            views__height=96,
            views__width=128,
            views__scale=(0.9, 1.2),
            views__rotation=10.0,
            encoder__stride=4,
        )
        image = F.interpolate(batch.image1, (120, 160), mode="bilinear")
        big = Frames(image, image, batch.keys, torch.tensor((120, 160)).expand(3, 2))
        with torch.no_grad():
            values[place] = method.step(method.prepare(big), 0)
    torch.testing.assert_close(values["cells"]["loss"], values["pixels"]["loss"], rtol=0.08, atol=0)
    torch.testing.assert_close(
        values["cells"]["valid"], values["pixels"]["valid"], rtol=0, atol=0.05
    )


def test_a_constant_flow_is_followed():
    plain = {"views__affine": False, "views__zoom": (1.0, 1.0)}
    method = small_method(flowe__loss_at="pixels", **plain)
    batch = method.prepare(frames(flow=(8.0, -4.0)))
    u = pixel_grid(32, 48)
    shifted = u + torch.tensor((8.0, -4.0)).view(1, 2, 1, 1)
    torch.testing.assert_close(batch.forward.targets, shifted.expand(3, -1, -1, -1))
    holds = (u[:, :1] + 8 <= 47) & (u[:, 1:] - 4 >= 0)
    assert torch.equal(batch.forward.valid, holds.expand(3, -1, -1, -1))


def test_without_flow_both_views_show_the_first_frame():
    method = small_method(flowe__flow=False, views__affine=False, **no_distortion())
    one = frames(flow=None)
    other = Frames(one.image1, torch.rand_like(one.image1), one.keys, SIZES)
    batch = method.prepare(other)
    assert not method.uses_flow
    torch.testing.assert_close(batch.view1.images, batch.view2.images)
    assert batch.forward.valid.all()


def no_distortion() -> dict[str, object]:
    return {f"views__distortion__{name}": 0.0 for name in ("jitter", "grey", "blur")}


def test_the_views_of_a_pair_differ():
    method = small_method()
    batch = method.prepare(frames())
    assert not torch.equal(batch.view1.to_frame, batch.view2.to_frame)
    assert torch.equal(batch.view1.low, batch.view2.low)


def test_occluded_positions_are_left_out():
    method = small_method(views__affine=False, views__zoom=(1.0, 1.0), flowe__loss_at="pixels")
    seen = frames()
    backward = torch.zeros(3, 2, 48, 64)
    backward[:, :, :, :32] = 5.0
    batch = method.prepare(Frames(seen.image1, seen.image2, KEYS, SIZES, seen.forward, backward))
    x = affine.apply(batch.view1.to_frame, pixel_grid(32, 48))[:, :1]
    assert torch.equal(batch.forward.valid, x >= 32)


def test_missing_flow_is_a_programming_error():
    with pytest.raises(ValueError, match="flow"):
        small_method().prepare(frames(flow=None))


def test_the_target_follows_after_the_step():
    method = small_method(flowe__momentum=0.9)
    with torch.no_grad():
        for parameter in method.siamese.online.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.siamese.target.parameters()]
    method.after_step(50)
    assert method.siamese.momentum(50) == pytest.approx(0.95)
    for old, slow, fast in zip(
        before,
        method.siamese.target.parameters(),
        method.siamese.online.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(slow, 0.95 * old + 0.05 * fast)


def test_the_symmetric_loss_is_the_mean_of_both_directions():
    method = small_method(flowe__symmetric=True)
    for module in method.modules.values():
        module.eval()
    given = frames(flow=(3.0, 1.0))
    batch = method.prepare(given)
    both = method.step(batch, 0)["loss"]
    assert batch.backward is not None
    there = method._one_way(batch.view1, batch.view2, batch.forward)["loss"]
    back = method._one_way(batch.view2, batch.view1, batch.backward)["loss"]
    torch.testing.assert_close(both, (there + back) / 2)
    # The way back is the way there of the swapped frames, but for the views that are drawn.
    torch.testing.assert_close(batch.backward.positions, batch.forward.positions)


def test_pooled_features_need_no_flow_and_are_byols_loss():
    method = small_method(flowe__dense=False)
    assert not method.uses_flow
    batch = method.prepare(frames(flow=None))
    for module in method.modules.values():
        module.eval()
    loss = method.step(batch, 0)["loss"]

    def vector(network: nn.ModuleDict, images: Tensor) -> Tensor:
        return network["projector"](network["encoder"](images).mean((2, 3))[..., None, None])

    p = F.normalize(method.predictor(vector(method.siamese.online, batch.view1.images)), dim=1)
    z = F.normalize(vector(method.siamese.target, batch.view2.images), dim=1)
    torch.testing.assert_close(loss, (p - z).square().sum(1).mean())
    assert batch.forward is None
    assert method.pictures()["views"].shape == (3, 32, 2 * 48)
    both = small_method(flowe__dense=False, flowe__symmetric=True)
    terms = both.step(both.prepare(frames(flow=None)), 0)
    assert terms.keys() == {"loss", "spread"}


@pytest.mark.parametrize(
    ("values", "sees_second", "turns", "places", "uses_flow"),
    [
        ({"views__affine": False, "flowe__flow": False}, False, False, True, False),
        ({"flowe__flow": False}, False, True, True, False),
        ({"views__affine": False}, True, False, True, True),
        ({"flowe__dense": False}, True, True, False, False),
        ({}, True, True, True, True),
    ],
)
def test_the_rows_of_table_3_are_settings(
    values: dict[str, object], sees_second: bool, turns: bool, places: bool, uses_flow: bool
):
    method = small_method(**values, **no_distortion())
    assert method.uses_flow == uses_flow
    assert method.uses_pairs == sees_second
    given = frames(flow=(3.0, 0.0) if uses_flow else None)
    other = replace(given, image2=given.image2.flip(0))
    one, two = method.prepare(given), method.prepare(other)
    assert torch.equal(one.view2.images, two.view2.images) != sees_second
    assert torch.equal(one.view1.to_frame, one.view2.to_frame) != turns
    terms = method.step(one, 0)
    assert ("valid" in terms) == places


def test_flow_of_zero_compares_two_frames_place_by_place():
    method = small_method(views__affine=False, flowe__loss_at="pixels")
    given = frames(flow=(0.0, 0.0))
    other = replace(given, image2=given.image2.flip(0))
    batch = method.prepare(other)
    assert batch.forward is not None
    assert batch.forward.valid.all()
    torch.testing.assert_close(batch.forward.targets, pixel_grid(32, 48).expand(3, -1, -1, -1))
    assert not torch.equal(batch.view2.images, method.prepare(given).view2.images)


def test_a_batch_depends_on_its_keys_alone():
    method, given = small_method(), frames()
    whole = method.prepare(given)
    assert given.forward is not None
    assert given.backward is not None
    alone = method.prepare(
        Frames(
            given.image1[1:2],
            given.image2[1:2],
            given.keys[1:2],
            SIZES[1:2],
            given.forward[1:2],
            given.backward[1:2],
        )
    )
    torch.testing.assert_close(alone.view1.images[0], whole.view1.images[1])
    torch.testing.assert_close(alone.forward.targets[0], whole.forward.targets[1])


def test_training_lowers_the_loss_without_collapse():
    method = small_method(flowe__momentum=0.9, heads__hidden=64, heads__out=32)
    optimizer = Lars(method.parameter_groups(), lr=2.0)
    losses, spreads = [], []
    for step in range(30):
        optimizer.zero_grad()
        terms = method.step(method.prepare(frames(step % 4, (4.0, 0.0))), step)
        terms["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(terms["loss"].item())
        spreads.append(terms["spread"].item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert min(spreads) > 0.2


def test_pictures_show_both_views_and_their_alignment():
    method = small_method()
    assert method.pictures() == {}
    method.step(method.prepare(frames()), 0)
    pictures = method.pictures()
    assert pictures.keys() == {"views", "matches"}
    picture = pictures["views"]
    assert picture.shape == (3, 32, 3 * 48)
    assert picture.min() >= 0
    assert picture.max() <= 1


class OnTheTorus(nn.Module):
    """An encoder of stride 8 that commutes with rolling by whole cells."""

    def forward(self, images: Tensor) -> Tensor:
        wrapped = F.pad(images, (3, 3, 3, 3), mode="circular")
        return F.avg_pool2d(wrapped, 9, 8)


@pytest.mark.parametrize("symmetric", [False, True])
def test_pixel_shuffle_rolls_what_is_seen_and_puts_features_back(symmetric: bool):
    method = small_method(flowe__pixel_shuffle=True, flowe__symmetric=symmetric)
    batch = method.prepare(frames())
    assert batch.shifts is not None
    assert not torch.equal(batch.shifts[0], batch.shifts[1])
    assert (batch.shifts % 8 == 0).all()
    still = replace(batch, shifts=None)
    # The padding of a network makes the difference; without it there is none.
    assert not torch.isclose(method.step(batch, 0)["loss"], method.step(still, 0)["loss"])
    for network in (method.siamese.online, method.siamese.target):
        network["encoder"] = nn.Sequential(OnTheTorus(), nn.Conv2d(3, method.encoder.channels, 1))
    torch.testing.assert_close(method.step(batch, 0)["loss"], method.step(still, 0)["loss"])


def test_views_that_cannot_be_rolled_are_an_error():
    with pytest.raises(UserError, match=r"multiples of 8, or flowe\.pixel_shuffle=false"):
        small_method(flowe__pixel_shuffle=True, views__height=36)
    assert small_method(views__height=36).prepare(frames()).shifts is None
