import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.classical import Classical, Dis, Farneback, Zero
from selfflow.runs.errors import UserError


def moved_frames() -> tuple[Tensor, Tensor]:
    """Two pairs, whose content moves by (3, -2) and by (-1, 2) pixels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 3, 30, 40, generator=generator)
    image1 = F.interpolate(noise, scale_factor=4, mode="bicubic").clamp(0, 1)
    image2 = torch.stack((image1[0].roll((-2, 3), (1, 2)), image1[1].roll((2, -1), (1, 2))))
    return image1, image2


@pytest.mark.parametrize("method", [Dis(), Farneback()], ids=["dis", "farneback"])
def test_a_translation_is_found_forward_and_backward(method: Classical) -> None:
    image1, image2 = moved_frames()
    forward, backward = method.bidirectional(image1, image2)
    inner = (slice(None), slice(None), slice(20, -20), slice(20, -20))
    expected = torch.tensor([[3.0, -2.0], [-1.0, 2.0]])[:, :, None, None]
    assert (forward - expected)[inner].abs().median() < 0.1
    assert (backward + expected)[inner].abs().median() < 0.1
    assert torch.equal(forward, method(image1, image2))
    assert forward.dtype == torch.float32
    assert forward.is_contiguous()


def test_zero_is_zero() -> None:
    image1, image2 = moved_frames()
    assert torch.equal(Zero()(image1, image2), torch.zeros(2, 2, 120, 160))


def test_frames_that_are_too_small_for_dis_are_named() -> None:
    tiny = torch.rand(1, 3, 8, 20)
    with pytest.raises(UserError, match="8x20"):
        Dis()(tiny, tiny)
