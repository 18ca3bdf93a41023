from pathlib import Path

import pytest
import torch
from torchvision.transforms.functional import center_crop, resize

from representation.known_encoders import find_encoder
from representation.readout.pooled import centre_crop, pooled_features
from selfflow.io import read_image, write_image


@pytest.mark.parametrize("size", [(90, 120), (121, 77)])
def test_the_middle_is_torchvisions_middle(size: tuple[int, int]):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    short = 64
    long = round(max(size) * short / min(size))
    shape = [short, long] if size[0] < size[1] else [long, short]
    expected = center_crop(resize(image, shape, antialias=True), [56, 56])
    assert torch.allclose(centre_crop(image, short, 56), expected, atol=1e-5)


def test_a_crop_that_is_larger_than_the_short_side_enlarges():
    assert centre_crop(torch.rand(1, 3, 20, 31), 16, 48).shape == (1, 3, 48, 48)


def test_features_are_means_of_each_images_map(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        image = torch.randint(0, 256, (40 + number, 50, 3), generator=generator).byte()
        write_image(paths[-1], image.numpy())
    encoder = find_encoder("random", architecture="resnet18")
    found = pooled_features(
        encoder, paths, short_side=32, crop=32, batch_size=2, device=torch.device("cpu")
    )
    assert found.shape == (3, 512)
    for path, vector in zip(paths, found, strict=True):
        image = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            alone = encoder(centre_crop(image, 32, 32)).mean((2, 3))[0]
        assert torch.allclose(vector, alone, atol=1e-5)
