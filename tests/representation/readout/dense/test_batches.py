from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from representation.readout.dense.batches import Batches, KeptLabels, stacked
from representation.readout.dense.classes import Classes
from representation.readout.dense.examples import Example
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.folders import read_folder
from representation.readout.dense.settings import DenseSettings


def settings(**values) -> DenseSettings:
    return DenseSettings(encoder="random", data="here", protocol="linear", **values)


@pytest.fixture
def data(tmp_path: Path, make_folder):
    return read_folder(make_folder(tmp_path, train=5))


def test_every_image_comes_once_in_each_pass(data) -> None:
    train = data.parts["train"]
    own = settings(training={"batch_size": 2, "pixels": None})
    batches = Batches(train, Classes(data), own)
    numbers = [batches._example(place).name for place in range(15)]
    for start in (0, 5, 10):
        assert Counter(numbers[start : start + 5]) == Counter(each.name for each in train)
    assert numbers[:5] != numbers[5:10]
    again = Batches(train, Classes(data), own)
    assert [again._example(place).name for place in range(14, -1, -1)] == numbers[::-1]


def test_a_batch_is_a_function_of_its_number(data) -> None:
    own = settings(training={"batch_size": 3, "pixels": 50}, augmentation={"flip": 0.5})
    forward = [Batches(data.parts["train"], Classes(data), own)(number) for number in range(3)]
    batches = Batches(data.parts["train"], Classes(data), own)
    for number in (2, 0, 1):
        for name in ("inputs", "positions", "labels"):
            assert torch.equal(getattr(batches(number), name), getattr(forward[number], name))
    other = Batches(data.parts["train"], Classes(data), own.model_copy(update={"seed": 1}))
    assert not torch.equal(other(0).positions, forward[0].positions)


def test_random_pixels_have_the_labels_of_their_places(data) -> None:
    target = Classes(data)
    batch = Batches(data.parts["train"], target, settings(training={"pixels": 300}))(0)
    assert batch.positions.shape == (8, 2, 1, 300)
    x, y = batch.positions[:, :, 0].long().unbind(1)
    # The image shows the label: red, green, blue.
    colours = batch.inputs[torch.arange(8)[:, None], :, y, x]
    assert torch.equal(colours.argmax(-1), batch.labels[:, 0].long())
    assert y.min() == 0
    assert y.max() == 23
    assert x.max() == 31


def test_features_take_the_place_of_images(data, colors, tmp_path) -> None:
    encoder, target = colors(4), Classes(data)
    own = settings(training={"batch_size": 2}, parts={"short_side": 32})
    images = Batches(data.parts["train"], target, own)(1)
    kept = Features(encoder, 32, tmp_path / "features")
    features = Batches(data.parts["train"], target, own, kept)(1)
    assert images.inputs.shape[-2:] == (32, 43)
    assert torch.equal(images.positions, features.positions)
    assert torch.equal(images.labels, features.labels)
    expected = encoder(images.inputs)
    torch.testing.assert_close(features.inputs.float(), expected, rtol=2e-3, atol=1e-3)
    with pytest.raises(ValueError, match="augmented"):
        Batches(data.parts["train"], target, settings(augmentation={"flip": 0.5}), kept)


def test_images_of_different_sizes_are_padded_where_nothing_is_known(
    data, write_image, tmp_path
) -> None:
    examples = []
    for name, size in (("tall", (40, 20)), ("wide", (20, 40))):
        image = write_image(tmp_path / f"{name}.png", np.full((*size, 3), 255, np.uint8))
        label = write_image(tmp_path / f"{name}-label.png", np.ones(size, np.uint8))
        examples.append(Example(name, image, label))
    fill = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    own = settings(training={"batch_size": 2, "pixels": None})
    batch = Batches(examples, Classes(data), own, fill=fill)(0)
    assert batch.inputs.shape == (2, 3, 40, 40)
    assert batch.labels.unique().tolist() == [1, 255]
    assert (batch.labels == 1).sum() == 1600
    beyond = batch.labels == 255
    assert torch.equal(batch.inputs.movedim(1, -1)[beyond].unique(dim=0), fill.view(1, 3))


def test_stacking_repeats_the_border() -> None:
    first, second = torch.arange(4.0).view(1, 2, 2), torch.zeros(1, 3, 3)
    together = stacked([first, second], None)
    assert together[0, 0].tolist() == [[0, 1, 1], [2, 3, 3], [2, 3, 3]]


def test_labels_are_kept_up_to_a_limit(data) -> None:
    class Counting(Classes):
        reads = 0

        def read(self, path: Path) -> torch.Tensor:
            self.reads += 1
            return super().read(path)

    target = Counting(data)
    labels = KeptLabels(target, limit=2 * 24 * 32)
    paths = [example.label for example in data.parts["train"]][:3]
    for _ in range(2):
        for path in paths:
            assert torch.equal(labels(path), Classes(data).read(path))
    assert target.reads == 4
