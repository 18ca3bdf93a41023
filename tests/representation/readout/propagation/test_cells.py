"""Where labels are read and where maps are drawn."""

import pytest
import torch
import torch.nn.functional as F

from representation.encoder import cell_positions, read_features
from representation.readout.propagation.cells import Cells, reading_weights, resize_nearest


def test_drawing_aligned_cells_equals_reading_features_at_all_pixels() -> None:
    maps = torch.rand(1, 3, 5, 7, dtype=torch.float64)
    for stride, offset in ((8, 0.0), (8, 3.5), (4, 1.5)):
        height, width = 5 * stride - 3, 7 * stride - 2
        pixels = cell_positions(height, width, 1).double()
        expected = read_features(maps, pixels, stride, offset)
        cells = Cells.aligned((5, 7), (height, width), stride, offset)
        torch.testing.assert_close(cells.draw(maps[0], (height, width)), expected[0])


@pytest.mark.parametrize("size", [(40, 56), (37, 54)])
def test_drawing_spread_cells_is_what_interpolate_does(size: tuple[int, int]) -> None:
    maps = torch.rand(1, 3, 5, 7, dtype=torch.float64)
    expected = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Cells.spread((5, 7), size).draw(maps[0], size), expected[0])


def test_reading_at_spread_cells_is_what_interpolate_does() -> None:
    labels = torch.rand(1, 2, 37, 54, dtype=torch.float64)
    expected = F.interpolate(labels, (5, 7), mode="bilinear", align_corners=False)
    cells = Cells.spread((5, 7), (37, 54))
    torch.testing.assert_close(cells.read(labels[0], "bilinear"), expected[0])
    nearest = F.interpolate(labels, (5, 7), mode="nearest-exact")
    torch.testing.assert_close(cells.read(labels[0], "nearest"), nearest[0])


def test_reading_at_aligned_cells_takes_the_pixels_at_their_centres() -> None:
    labels = torch.rand(2, 37, 54)
    cells = Cells.aligned((5, 7), (37, 54), 8, 0.0)
    for reading in ("nearest", "bilinear"):
        assert torch.equal(cells.read(labels, reading), labels[:, ::8, ::8])  # type: ignore[arg-type]
    labels = labels[:, :32, :48]
    middle = Cells.aligned((4, 6), (32, 48), 8, 3.5).read(labels, "bilinear")
    blocks = [labels[:, 3 + dy :: 8, 3 + dx :: 8] for dy in (0, 1) for dx in (0, 1)]
    torch.testing.assert_close(middle, torch.stack(blocks).mean(0))


def test_a_mask_of_another_size_than_the_input_is_read_at_the_same_places() -> None:
    """A ramp along x, in shares of the width, reads the same at any resolution."""
    cells = Cells.aligned((4, 6), (32, 48), 8, 3.5)
    found = []
    for width in (48, 96, 480):
        ramp = ((torch.arange(width, dtype=torch.float64) + 0.5) / width).expand(1, 64, width)
        found.append(cells.read(ramp, "bilinear"))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    torch.testing.assert_close(found[0][0, 0], (torch.arange(6) * 8 + 4.0).double() / 48)


def test_what_is_read_from_a_smooth_map_is_drawn_where_it_was() -> None:
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 48, 64)
    for cells in (Cells.aligned((6, 8), (48, 64), 8, 0.0), Cells.spread((6, 8), (48, 64))):
        drawn = cells.draw(cells.read(ramp, "bilinear"), (48, 64))
        torch.testing.assert_close(drawn[..., 4:56], ramp[..., 4:56])


def test_weights_sum_to_one_and_positions_outside_are_moved_to_the_end() -> None:
    positions = torch.tensor((-3.0, 0.0, 0.25, 2.5, 3.0, 9.0), dtype=torch.float64)
    for reading in ("nearest", "bilinear"):
        weights = reading_weights(positions, 4, reading)  # type: ignore[arg-type]
        assert torch.equal(weights.sum(1), torch.ones(6, dtype=torch.float64))
        assert weights[0, 0] == weights[1, 0] == weights[4, 3] == weights[5, 3] == 1
    assert torch.equal(reading_weights(positions, 1, "bilinear"), torch.ones(6, 1).double())


def test_nearest_resizing_equals_torchs_exact_one() -> None:
    numbers = torch.randint(0, 9, (32, 48), dtype=torch.uint8)
    for size in ((32, 48), (48, 48), (17, 100), (64, 96)):
        expected = F.interpolate(numbers[None, None].float(), size, mode="nearest-exact")
        assert torch.equal(resize_nearest(numbers, size), expected[0, 0].byte())
