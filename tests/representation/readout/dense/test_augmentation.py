import pytest
import torch
from torch import Tensor

from representation.readout.dense.augmentation import augment, random_size
from representation.readout.dense.settings import AugmentationSettings
from selfflow.random import key

FILL = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)


def example() -> tuple[Tensor, Tensor]:
    """Classes in large blocks, and an image whose red tells the class."""
    labels = torch.arange(12).view(3, 4).repeat_interleave(16, 0).repeat_interleave(16, 1)
    image = torch.stack([labels / 20, torch.zeros(48, 64), torch.ones(48, 64)])[None]
    return image, labels.to(torch.uint8)


@pytest.mark.parametrize(
    "settings",
    [
        AugmentationSettings(zoom=(0.5, 2.0)),
        AugmentationSettings(zoom=(0.7, 1.5), height=32, width=40, flip=0.5),
        AugmentationSettings(short_side=(24, 96), height=64, width=80),
    ],
)
def test_labels_go_where_the_image_goes(settings: AugmentationSettings) -> None:
    image, labels = example()
    sizes = set()
    for number in range(8):
        seen, found = augment(image, labels, key(0, torch.tensor([number])), settings, FILL, 255)
        assert seen.shape[-2:] == found.shape
        sizes.add(tuple(found.shape))
        known = found != 255
        # Between two blocks, and only there, colours are mixed.
        wrong = (seen[0, 0] * 20 - found).abs()[known] > 0.01
        assert wrong.double().mean() < 0.4
        assert torch.equal(seen[0][:, ~known], FILL[:, 0].expand(3, int((~known).sum())))
    if settings.height is None:
        assert len(sizes) > 4
    else:
        assert sizes == {(settings.height, settings.width)}


def test_a_flip_reverses_columns_of_both_and_happens_in_its_share_of_images() -> None:
    image, labels = example()
    flipped = 0
    for number in range(40):
        keys = key(0, torch.tensor([number]))
        seen, found = augment(image, labels, keys, AugmentationSettings(flip=0.5), FILL, 255)
        turned = torch.equal(found, labels.flip(1))
        assert torch.equal(seen, image.flip(3) if turned else image)
        flipped += turned
    assert 10 < flipped < 30


def test_sizes_cover_their_range() -> None:
    settings = AugmentationSettings(short_side=(30, 60))
    sides = [random_size((48, 64), key(1, torch.tensor([n])), settings) for n in range(200)]
    assert {min(height for height, _ in sides), max(height for height, _ in sides)} == {30, 60}
    assert all(abs(width / height - 64 / 48) < 0.05 for height, width in sides)


@pytest.mark.parametrize("values", [{"zoom": (2.0, 1.0)}, {"short_side": (0, 5)}, {"height": 32}])
def test_impossible_ranges_are_errors(values: dict) -> None:
    with pytest.raises(ValueError, match=r"range|crop"):
        AugmentationSettings(**values)
