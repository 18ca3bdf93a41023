import torch

from selfflow import affine
from selfflow.flow import pixel_grid


def draw_maps(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)


def as_matrices(maps: torch.Tensor) -> torch.Tensor:
    last = torch.tensor([0.0, 0.0, 1.0], dtype=maps.dtype).expand(len(maps), 1, 3)
    return torch.cat((maps, last), 1)


def test_apply_is_the_matrix_product_with_homogeneous_points():
    maps, points = draw_maps(0), pixel_grid(4, 5, dtype=torch.float64)
    homogeneous = torch.cat((points, torch.ones_like(points[:, :1])), 1).flatten(2)
    expected = (as_matrices(maps) @ homogeneous)[:, :2].view(3, 2, 4, 5)
    torch.testing.assert_close(affine.apply(maps, points), expected)


def test_chain_is_the_matrix_product_in_reverse_order():
    first, second = draw_maps(1), draw_maps(2)
    expected = as_matrices(second) @ as_matrices(first)
    torch.testing.assert_close(as_matrices(affine.chain(first, second)), expected)


def test_invert_is_the_matrix_inverse():
    maps = draw_maps(3)
    expected = torch.linalg.inv(as_matrices(maps))
    torch.testing.assert_close(as_matrices(affine.invert(maps)), expected)


def test_identity_leaves_points_exactly_where_they_are():
    points = pixel_grid(4, 5)
    assert torch.equal(affine.apply(affine.identity(1), points), points)


def test_similarity_scales_and_turns_about_its_centre():
    centre = torch.tensor((3.0, 2.0))
    quarter = affine.similarity(torch.tensor([2.0]), torch.tensor([torch.pi / 2]), centre)
    points = torch.tensor([[3.0, 2.0], [4.0, 2.0], [3.0, 3.0]]).T[None, :, None]
    moved = affine.apply(quarter, points)[0, :, 0].T
    expected = torch.tensor([[3.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_positions_stay_exact_under_autocast():
    maps, points = draw_maps(4).float(), pixel_grid(40, 1000)
    expected = affine.apply(affine.chain(maps, affine.invert(maps)), points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(affine.apply(affine.chain(maps, affine.invert(maps)), points), expected)
