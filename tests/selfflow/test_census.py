"""The census penalty against a slow twin in float64, value and gradient, and by hand."""

import pytest
import torch

from selfflow.census import Census, census, grey


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def slow_census(image1, image2, reach=3):
    batch, _, height, width = image1.shape
    luma = image1.new_tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
    rows = []
    for b in range(batch):
        grey1, grey2 = (255 * (image[b] * luma).sum(0) for image in (image1, image2))
        for y in range(height):
            for x in range(width):
                total = image1.new_zeros(())
                for dy in range(-reach, reach + 1):
                    for dx in range(-reach, reach + 1):
                        transforms = []
                        for values in (grey1, grey2):
                            there = values.new_zeros(())
                            if 0 <= y + dy < height and 0 <= x + dx < width:
                                there = values[y + dy, x + dx]
                            difference = there - values[y, x]
                            transforms.append(difference / (0.81 + difference**2).sqrt())
                        square = (transforms[0] - transforms[1]) ** 2
                        total = total + square / (0.1 + square)
                rows.append((total + 0.01) ** 0.4)
    return torch.stack(rows).view(batch, 1, height, width)


def test_census_equals_its_slow_twin():
    # Small differences of grey, where neither the transform nor the distance is saturated; two
    # images, since the fast one reads them as one row.
    images = [0.5 + 0.01 * random(2, 3, 4, 5, seed=seed) for seed in (0, 1)]
    weights = random(2, 1, 4, 5, seed=9)
    results = []
    for function in (census, slow_census):
        leaves = [image.clone().requires_grad_() for image in images]
        value = function(*leaves)
        (value * weights).sum().backward()
        results.append((value.detach(), leaves[0].grad, leaves[1].grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_transform_serves_many_comparisons_and_both_roles():
    first, second, third = (0.5 + 0.01 * random(2, 1, 6, 7, seed=seed) for seed in range(3))
    fixed = Census.of(first)
    for other in (second, third):
        leaf = other.clone().requires_grad_()
        fixed.penalty(leaf).sum().backward()
        swapped = other.clone().requires_grad_()
        value = Census.of(swapped).penalty(first)
        value.sum().backward()
        torch.testing.assert_close(value, fixed.penalty(other))
        torch.testing.assert_close(leaf.grad, swapped.grad)


def test_census_by_hand():
    # A bright pixel of 0.9 grey values that is missing in the other image. It sees 48 neighbours
    # with d = -0.9, t = -1/sqrt(2), each of which sees it with the opposite sign; 0.5 / 0.6 each.
    image1 = torch.full((1, 3, 13, 13), 0.5, dtype=torch.float64)
    image2 = image1.clone()
    image1[..., 6, 6] += 0.9 / 255
    share = 0.5 / (0.1 + 0.5)
    penalty = census(image1, image2)[0, 0]
    assert penalty[6, 6].item() == pytest.approx((48 * share + 0.01) ** 0.4)
    assert penalty[4, 8].item() == pytest.approx((share + 0.01) ** 0.4)
    assert penalty[6, 10].item() == pytest.approx(0.01**0.4)


def test_the_gradient_by_hand():
    # A flat image and one in which the left of two pixels is 0.9 brighter, patch 3: each pixel
    # has the other as its only neighbour but the zeros outside, which saturate.
    flat = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64)
    leaf = flat.clone()
    leaf[..., 0] += 0.9 / 255
    leaf.requires_grad_()
    Census.of(flat, patch=3).penalty(leaf)[0, 0, 0, 1].backward()
    # h = Δ² / (0.1 + Δ²) with Δ = 1/sqrt(2); dh/dΔ = 0.2 Δ / (0.1 + Δ²)²; dΔ/dd = 0.81 / 1.62^1.5.
    change, square = 0.5**0.5, 0.5
    slope = 0.2 * change / (0.1 + square) ** 2 * 0.81 / 1.62**1.5
    outer = 0.4 * (square / (0.1 + square) + 0.01) ** -0.6
    assert leaf.grad[0, 0, 0, 0].item() == pytest.approx(255 * outer * slope, rel=1e-4)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="sizes differ"):
        census(random(1, 3, 8, 8), random(1, 3, 8, 9))


def test_census_of_equal_images_is_the_least():
    image = random(1, 3, 12, 12)
    torch.testing.assert_close(census(image, image), torch.full((1, 1, 12, 12), 0.01**0.4).double())


def test_census_ignores_added_brightness_inside():
    image = random(1, 3, 16, 16) * 0.5
    penalty = census(image, image + 0.25)
    torch.testing.assert_close(
        penalty[:, :, 3:-3, 3:-3], torch.full((1, 1, 10, 10), 0.01**0.4).double()
    )


def test_grey_agrees_with_torchvision():
    from torchvision.transforms.functional import rgb_to_grayscale

    image = random(2, 3, 4, 4).float()
    torch.testing.assert_close(grey(image), rgb_to_grayscale(image), atol=2e-4, rtol=0)
