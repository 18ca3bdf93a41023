import numpy as np
import pytest
import torch

from representation.correspondence import View
from representation.pictures.matches import SHOWN, dot, hues, matches_picture

SCALE = 6  # by which a view of 32 pixels is enlarged


def black(height: int = 32, width: int = 40) -> View:
    corner = torch.zeros(1, 2)
    maps = torch.eye(2, 3)[None]
    return View(torch.zeros(1, 3, height, width), maps, corner, corner)


def test_both_ends_of_a_match_have_a_dot_of_one_colour() -> None:
    position = torch.tensor((10.0, 20.0)).view(1, 2, 1, 1)
    target = torch.tensor((30.0, 5.0)).view(1, 2, 1, 1)
    picture = matches_picture(black(), black(), position, target)
    assert picture.shape == (3, 32 * SCALE, 2 * 40 * SCALE)
    colour = torch.tensor(hues(1)[0]) / 255
    dots = (picture - colour[:, None, None]).abs().amax(0) < 1e-3
    for x, y in ((10, 20), (40 + 30, 5)):
        place = round((y + 0.5) * SCALE - 0.5), round((x + 0.5) * SCALE - 0.5)
        assert dots[place]
        dots[place[0] - 5 : place[0] + 6, place[1] - 5 : place[1] + 6] = False
    assert not dots.any()


def test_what_is_not_valid_is_not_shown_and_of_many_matches_a_few_are() -> None:
    grid = torch.stack(torch.meshgrid(torch.arange(40), torch.arange(32), indexing="xy"))[None]
    grid = grid.float()
    valid = torch.zeros(1, 1, 32, 40, dtype=torch.bool)
    assert matches_picture(black(), black(), grid, grid, valid).max() == 0
    valid[..., 16:, :] = True
    picture = matches_picture(black(), black(), grid, grid, valid)
    assert picture[:, : 15 * SCALE].max() == 0
    every = matches_picture(black(), black(), grid, grid)
    colours = {tuple(each) for each in (every * 255).round().int().flatten(1).T.tolist()}
    assert set(hues(SHOWN)) <= colours


def test_colours_differ() -> None:
    assert hues(0) == []
    found = np.array(hues(12)).astype(int)
    apart = np.abs(found[:, None] - found[None]).sum(2) + 1000 * np.eye(12, dtype=int)
    assert apart.min() > 60


def test_a_dot_beyond_the_edge_is_no_error() -> None:
    canvas = np.zeros((8, 8, 3), np.uint8)
    dot(canvas, [-2, 20], (255, 0, 0))
    assert canvas.max() == 0


@pytest.mark.parametrize("size", [(200, 300), (96, 128)])
def test_only_small_views_are_enlarged(size: tuple[int, int]) -> None:
    place = torch.zeros(1, 2, 1, 1)
    scale = 1 if size[0] >= 192 else 2
    picture = matches_picture(black(*size), black(*size), place, place)
    assert picture.shape[1:] == (scale * size[0], 2 * scale * size[1])
