"""Frames beside themselves: errors against made motion, and what is called forgetting."""

import pytest
import torch
import torch.nn.functional as F

from selfflow.classical import Zero
from selfflow.known_motion import SHIFTS, forgotten, shift_errors
from selfflow.models import load

NAMES = list(SHIFTS)


class Knowing:
    """Says what is true of two windows of a picture, and NaN where one lacks the pixel."""

    def __init__(self, error: float) -> None:
        self.error = error

    def bidirectional(self, image1, image2, iterations=12):
        """Find the shift by search: the only one at which the windows agree."""
        width = image1.shape[-1]
        shift = next(
            d for d in range(1, width) if torch.equal(image1[..., : width - d], image2[..., d:])
        )
        x = torch.arange(width).expand(1, 2, image1.shape[-2], width)
        inside = (x[:, :1] < width - shift, x[:, :1] >= shift)
        flows = []
        for sign, seen in zip((1, -1), inside, strict=True):
            flow = torch.zeros(1, 2, *image1.shape[-2:])
            flow[:, 0] = sign * shift
            flow[:, 1] = self.error
            flows.append(torch.where(seen, flow, torch.nan))
        return tuple(flows)


@pytest.mark.parametrize("error", [0.0, 2.5])
def test_the_error_is_against_the_shift_where_both_windows_have_the_pixel(error):
    image = torch.rand(1, 3, 12, 90, generator=torch.Generator().manual_seed(0))
    assert shift_errors(Knowing(error), image, 1).tolist() == [error] * len(SHIFTS)


def test_zero_flows_error_is_the_shift():
    for width, shifts in ((400, [20, 60]), (200, [20, 50]), (40, [10, 10])):
        assert shift_errors(Zero(), torch.rand(1, 3, 16, width), 1).tolist() == shifts


def test_a_network_that_is_trained_follows_the_shift():
    noise = torch.rand(1, 3, 128, 200, generator=torch.Generator().manual_seed(0))
    image = F.avg_pool2d(noise, 9, stride=1, padding=4)
    image = (image - image.min()) / (image.max() - image.min())
    assert shift_errors(load("s-af-small"), image, 8)[0] < 1


def test_a_much_larger_error_is_called_forgetting():
    before = dict(zip(NAMES, (0.4, 2.0), strict=True))
    assert forgotten(before, before) == []
    assert forgotten({}, before) == []
    assert forgotten(before, dict(zip(NAMES, (0.85, 2.9), strict=True))) == []
    (text,) = forgotten(before, dict(zip(NAMES, (0.3, 3.1), strict=True)))
    assert "2.00 to 3.10 px (large shift)" in text
    assert "small shift" not in text
    (text,) = forgotten(before, dict(zip(NAMES, (0.95, 9.0), strict=True)))
    assert "0.40 to 0.95 px (small shift), 2.00 to 9.00 px (large shift)" in text
