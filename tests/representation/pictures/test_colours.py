import numpy as np
import torch
from torch.nn import functional as F

from representation.encoder import cell_positions
from representation.pictures.colours import at_pixels, colour_basis, colours, unit_cells
from representation.resnet import ResNet


def test_the_directions_are_numpys_principal_components() -> None:
    maps = [torch.randn(2, 6, 5, 7) * torch.arange(1, 7).view(1, 6, 1, 1) for _ in range(2)]
    basis = colour_basis(maps)
    cells = F.normalize(torch.cat(maps), dim=1).permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    _, _, rows = np.linalg.svd(cells - cells.mean(0))
    overlap = (basis.directions.double().numpy() * rows[:3].T).sum(0)
    np.testing.assert_allclose(np.abs(overlap), 1, atol=1e-5)
    coordinates = (unit_cells(torch.cat(maps)) - basis.mean) @ basis.directions
    assert (coordinates.pow(3).mean(0) >= 0).all()


def test_colours_fill_the_range_and_do_not_depend_on_the_length_of_features() -> None:
    maps = torch.randn(3, 8, 10, 12)
    basis = colour_basis([maps])
    found = colours(maps, basis)
    assert found.shape == (3, 3, 10, 12)
    flat = found.transpose(0, 1).flatten(1)
    for colour in flat:
        assert 0 < (colour == 0).float().mean() < 0.03
        assert 0 < (colour == 1).float().mean() < 0.03
    torch.testing.assert_close(colours(5 * maps, basis), found, atol=1e-4, rtol=0)


def test_equal_features_have_equal_colours_and_few_channels_are_enough() -> None:
    maps = torch.randn(1, 2, 4, 4)
    found = colours(maps, colour_basis([maps]))
    assert found[:, 2].max() == 0
    constant = torch.ones(1, 5, 4, 4)
    assert colours(constant, colour_basis([constant])).isfinite().all()


def test_at_the_cells_centres_pixels_have_the_cells_values() -> None:
    encoder, maps = ResNet("resnet18", 8), torch.rand(1, 3, 4, 5)
    found = at_pixels(maps, encoder, (30, 37))
    x, y = cell_positions(4, 5, 8)[0].long()
    torch.testing.assert_close(found[:, :, y, x], maps)
