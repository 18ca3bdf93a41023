import numpy as np
import pytest
import torch
from torch.nn import functional as F

from representation.pictures.heat import (
    Place,
    best_place,
    feature_at,
    heat,
    heat_range,
    marked,
    similarity,
)
from representation.resnet import ResNet


def test_a_cell_is_most_similar_to_itself_and_found_again() -> None:
    encoder, features = ResNet("resnet18", 8), torch.randn(1, 16, 6, 7)
    vector = feature_at(features, encoder, (24.0, 16.0))
    torch.testing.assert_close(vector, F.normalize(features[0, :, 2, 3], dim=0))
    between = feature_at(features, encoder, (28.0, 16.0))
    expected = F.normalize(features[0, :, 2, 3] + features[0, :, 2, 4], dim=0)
    torch.testing.assert_close(between, expected)
    similar = similarity(3 * features, vector)
    expected = torch.cosine_similarity(features, vector.view(1, -1, 1, 1), dim=1)
    torch.testing.assert_close(similar[:, 0], expected)
    found = best_place(similar)
    assert found == Place(3, 2, pytest.approx(1.0))


def test_hot_is_red_cold_is_blue_and_the_range_is_of_the_upper_half() -> None:
    similar = [torch.linspace(0, 1, 101).view(1, 1, 1, 101)]
    assert heat_range(similar) == pytest.approx((0.5, 1.0))
    values = torch.tensor([[-1.0, 0.5, 1.0, 9.0]]).view(1, 1, 1, 4)
    picture = heat(np.full((1, 4, 3), 128, np.uint8), values, 0.5, 1.0).astype(int)
    assert (picture[0, 0] == picture[0, 1]).all()
    assert (picture[0, 2] == picture[0, 3]).all()
    assert picture[0, 2, 0] > picture[0, 2, 2] + 30
    assert picture[0, 0, 0] < picture[0, 0, 2]


def test_marking_changes_the_place_alone_and_not_the_image() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    found = marked(image, (30.2, 9.8), (255, 0, 0))
    assert image.max() == 0
    assert found[10, 30].tolist() == [255, 0, 0]
    assert found[20:].max() == 0
