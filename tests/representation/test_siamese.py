import copy
import math

import pytest
import torch
from torch import nn

from representation.resnet import ResNet
from representation.siamese import Siamese, distance, project

CPU = torch.device("cpu")


def siamese(steps: int | None = 100, momentum: float = 0.9) -> Siamese:
    torch.manual_seed(0)
    heads = {"projector": nn.Conv2d(512, 4, 1), "other": nn.Conv2d(512, 2, 1)}
    return Siamese(ResNet("resnet18", 32), heads, momentum=momentum, steps=steps, device=CPU)


def test_projections_are_a_head_on_features_or_on_their_mean():
    networks, images = siamese(), torch.rand(2, 3, 64, 96)
    networks.online.eval()
    features = networks.online["encoder"](images)
    weight, bias = networks.online["other"].weight[:, :, 0, 0], networks.online["other"].bias
    expected = torch.einsum("oc,bchw->bohw", weight, features) + bias[:, None, None]
    found = networks.project(images, "other")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    pooled = networks.project(images, "other", pooled=True)
    assert pooled.shape == (2, 2, 1, 1)
    # A linear head's mean is the head of the mean.
    torch.testing.assert_close(pooled[..., 0, 0], expected.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert networks.project(images).shape == (2, 4, 2, 3)


def test_the_target_is_a_copy_without_gradient():
    networks, images = siamese(), torch.rand(2, 3, 64, 64)
    assert not networks.project_target(images).requires_grad
    assert all(not p.requires_grad for p in networks.target.parameters())
    again = siamese()
    torch.testing.assert_close(
        networks.project_target(images), project(again.online, images).detach()
    )
    with torch.no_grad():
        networks.target["projector"].weight.add_(1.0)
    assert not torch.equal(networks.project_target(images), again.project_target(images))
    assert networks.modules.keys() == {"online", "target"}


def test_the_momentum_rises_as_byols_or_stays_as_mocos():
    for step in (0, 30, 100):
        byol = 1 - (1 - 0.9) * (math.cos(math.pi * step / 100) + 1) / 2
        assert siamese(100).momentum(step) == pytest.approx(byol)
        assert siamese(None, 0.999).momentum(step) == 0.999


def test_following_after_the_step_is_mocos_following_before_the_keys():
    """Three steps of both orders, with updates of the online network that are given."""
    ours, moco = siamese(None), siamese(None)
    seen: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    for step in range(3):
        moco.follow(step)
        expected.append(copy.deepcopy(moco.target["projector"].weight))
        seen.append(copy.deepcopy(ours.target["projector"].weight))
        for networks in (ours, moco):
            generator = torch.Generator().manual_seed(step)
            with torch.no_grad():
                weight = networks.online["projector"].weight
                weight.add_(torch.randn(weight.shape, generator=generator))
        ours.follow(step)
    for found, key_encoder in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, key_encoder)
    assert not torch.equal(seen[0], seen[2])


def test_the_distance_is_two_minus_twice_the_cosine():
    generator = torch.Generator().manual_seed(0)
    p, z = torch.randn(2, 2, 5, 3, 4, generator=generator, dtype=torch.float64)
    found = distance(p, z)
    assert found.shape == (2, 1, 3, 4)
    assert found.dtype == torch.float64
    for b in range(2):
        for i in range(3):
            for j in range(4):
                one, other = p[b, :, i, j], z[b, :, i, j]
                difference = one / one.norm() - other / other.norm()
                torch.testing.assert_close(found[b, 0, i, j], difference.square().sum())
    assert distance(p, 3 * p).abs().max() < 1e-12
    torch.testing.assert_close(distance(p, -p), torch.full_like(found, 4))
    assert distance(p.bfloat16(), z.bfloat16()).dtype == torch.float32
