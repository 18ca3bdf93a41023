import numpy as np
import pytest
import torch

from representation.pictures.matches import hues
from representation.pictures.segments import segment_centroids, segments, segments_picture
from representation.resnet import ResNet
from selfflow.runs.errors import UserError


def blocks() -> torch.Tensor:
    """Return features of three kinds in three bands of columns, a little noisy, `(1, 3, 6, 9)`."""
    kinds = torch.eye(3)[torch.arange(9) // 3].T.view(1, 3, 1, 9).expand(1, 3, 6, 9)
    return kinds + 0.05 * torch.randn(1, 3, 6, 9, generator=torch.Generator().manual_seed(0))


def test_what_is_alike_is_one_segment_with_borders_between_the_cells() -> None:
    encoder, features = ResNet("resnet18", 8), blocks()
    centroids = segment_centroids([features, features], 3)
    labels = segments(features, centroids, encoder, (48, 72))
    assert labels.shape == (48, 72)
    # Cells lie at 0, 8, ..., 64: between 16 and 24 the first band ends, at 20.
    for band in (slice(0, 19), slice(22, 43), slice(46, 72)):
        assert len(labels[:, band].unique()) == 1
    assert len(labels.unique()) == 3


def test_more_segments_than_cells_are_an_error() -> None:
    with pytest.raises(UserError, match="7 segments are more than the 6"):
        segment_centroids([torch.randn(1, 4, 2, 3)], 7)


def test_the_picture_mixes_colour_and_image_and_draws_borders() -> None:
    labels = torch.tensor([[0, 0, 1, 1]]).expand(2, 4)
    picture = segments_picture(np.full((2, 4, 3), 100, np.uint8), labels, 2)
    assert (picture[:, 2] == 255).all()
    expected = (np.array(hues(2)) + 100) / 2
    np.testing.assert_allclose(picture[0, 0], expected[0], atol=1)
    np.testing.assert_allclose(picture[0, 3], expected[1], atol=1)
