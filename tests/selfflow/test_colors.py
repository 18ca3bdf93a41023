"""The colour wheel agrees with torchvision's, image by image."""

import pytest
import torch
from torchvision.utils import flow_to_image

from selfflow.colors import color_wheel, flow_to_color


def test_agrees_with_torchvision() -> None:
    flow = torch.randn(2, 2, 13, 17) * torch.tensor([3.0, 40.0]).view(2, 1, 1, 1)
    ours = flow_to_color(flow)
    for number in range(2):  # theirs takes the largest magnitude of the batch, ours of each image
        theirs = flow_to_image(flow[number]).float() / 255
        # They round the wheel, and then the result, down.
        assert (ours[number] - theirs).abs().max() <= 2 / 255


def test_the_wheel_has_55_colours_and_starts_red() -> None:
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    assert wheel[0].tolist() == [1, 0, 0]
    assert wheel.min() >= 0
    assert wheel.max() <= 1


def test_zero_is_white_unknown_is_black_and_longer_is_darkened() -> None:
    flow = torch.zeros(1, 2, 1, 5)
    flow[0, 0] = torch.tensor([[0.0, 10.0, 20.0, float("nan"), 2e9]])
    color = flow_to_color(flow, max_magnitude=10)
    assert color[0, :, 0, 0].tolist() == [1, 1, 1]
    assert torch.allclose(color[0, :, 0, 2], 0.75 * color[0, :, 0, 1])
    assert not color[0, :, 0, 3:].any()


def test_max_magnitude_makes_images_comparable() -> None:
    flow = torch.ones(2, 2, 4, 4) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    assert torch.equal(*flow_to_color(flow).unbind())
    one, two = flow_to_color(flow, max_magnitude=4).unbind()
    assert (one > two + 0.01).any()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="flow"):
        flow_to_color(torch.zeros(2, 5, 5))
