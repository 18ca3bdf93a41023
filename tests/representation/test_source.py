from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.flow_cache import ComputedFlow, FlowCache, read_flow_file
from representation.source import FrameSource, padded
from selfflow.flow import resize_flow
from selfflow.frames import FrameBatches, FrameCache, PairAddress
from selfflow.io import write_image
from selfflow.models import load
from selfflow.video import Target, open_target


class CountingFlow(nn.Module):
    """A flow model whose flow is a function of the images, and that counts its pairs."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.pairs = 0

    def forward(self, image1: Tensor, image2: Tensor, iterations: int = 12) -> Tensor:
        return self.scale * (image2 - image1)[:, :2]

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        self.pairs += len(image1)
        return self(image1, image2), self(image2, image1)


def frames(count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, count, 3, 12, 16), generator=generator) / 255
    return images[0], images[1]


def test_the_cache_gives_what_the_model_gives_and_asks_it_once(tmp_path: Path):
    model, (first, second) = CountingFlow(), frames()
    cache = FlowCache(ComputedFlow(model), tmp_path)
    expected = model(first, second)
    for _ in range(2):
        forward, backward = cache(first, second)
        torch.testing.assert_close(forward, expected, atol=4e-3, rtol=0)
        torch.testing.assert_close(backward, -expected, atol=4e-3, rtol=0)
        assert forward.dtype == torch.float32
        assert not forward.requires_grad
    assert model.pairs == 3
    # A single pair out of another batch is found again; swapped frames are another pair.
    again = cache(first[1:2], second[1:2])
    assert torch.equal(again[0], forward[1:2])
    assert model.pairs == 3
    cache(second[1:2], first[1:2])
    assert model.pairs == 4


def test_files_are_float16_and_damaged_ones_are_made_again(tmp_path: Path):
    model, (first, second) = CountingFlow(), frames(1)
    cache = FlowCache(ComputedFlow(model), tmp_path)
    before = cache(first, second)
    (file,) = tmp_path.rglob("*.npy")
    stored = np.load(file)
    assert stored.dtype == np.float16
    assert stored.shape == (4, 12, 16)
    file.write_bytes(file.read_bytes()[:100])
    assert read_flow_file(file, (12, 16)) is None
    assert torch.equal(cache(first, second)[0], before[0])
    assert model.pairs == 2
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_other_weights_and_iterations_have_another_cache(tmp_path: Path):
    first, second = frames(1)
    cache = FlowCache(ComputedFlow(CountingFlow(10.0)), tmp_path)
    cache(first, second)
    other = FlowCache(ComputedFlow(CountingFlow(20.0)), tmp_path)
    torch.testing.assert_close(
        other(first, second)[0], 20 * (second - first)[:, :2], rtol=1e-3, atol=0
    )
    same = ComputedFlow(CountingFlow(10.0))
    assert FlowCache(same, tmp_path).folder == cache.folder
    assert FlowCache(ComputedFlow(CountingFlow(10.0), 6), tmp_path).folder != cache.folder


def test_flow_at_half_size_is_the_enlarged_flow_of_halved_frames(tmp_path: Path):
    model = CountingFlow()
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, 256, (2, 2, 3, 25, 32), generator=generator) / 255).unbind()
    source = ComputedFlow(model, scale=0.5)
    assert source.size(first) == (12, 16)
    halves = [
        F.interpolate(images, (12, 16), mode="bilinear", antialias=True)
        for images in (first, second)
    ]
    expected = resize_flow(model(*halves), 25, 32)
    forward, backward = source(first, second)
    torch.testing.assert_close(forward, expected)
    torch.testing.assert_close(backward, -expected)
    cache = FlowCache(source, tmp_path)
    for _ in range(2):
        torch.testing.assert_close(cache(first, second)[0], expected, atol=8e-3, rtol=0)
    (file, _) = tmp_path.rglob("*.npy")
    assert np.load(file).shape == (4, 12, 16)
    assert FlowCache(ComputedFlow(model), tmp_path).folder != cache.folder


def test_flow_at_another_size_is_in_pixels_of_the_frame():
    """DIS on a texture that moves by 8 px, seen at half size, where it moves by 4."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 24, 32, generator=generator)
    image = F.interpolate(small, (192, 256), mode="bicubic").clamp(0, 1)
    moved = image.roll(8, 3)
    forward, backward = ComputedFlow(load("dis"), scale=0.5)(image, moved)
    inner = (slice(None), slice(None), slice(40, -40), slice(40, -40))
    for flow, expected in ((forward, 8.0), (backward, -8.0)):
        assert flow.shape == (1, 2, 192, 256)
        assert abs(flow[inner][:, 0].median() - expected) < 0.2
        assert abs(flow[inner][:, 1].median()) < 0.2


@pytest.fixture
def mixed_target(tmp_path: Path) -> Target:
    """Two films of different sizes."""
    generator = np.random.default_rng(0)
    for name, height, width in (("a", 24, 40), ("b", 36, 30)):
        for number in range(3):
            frame = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            path = tmp_path / "films" / name / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, frame)
    return open_target(str(tmp_path / "films"))


def test_films_of_different_sizes_make_one_padded_batch(mixed_target: Target):
    pairs = [PairAddress(name, i, i + 1) for name in ("a", "b") for i in range(2)]
    batches = FrameBatches(FrameCache(mixed_target), pairs, seed=0, batch_size=4)
    model = CountingFlow()
    batch = FrameSource(batches, ComputedFlow(model))(0)
    assert batch.image1.shape == (4, 3, 36, 40)
    assert model.pairs == 4
    assert batch.forward is not None
    assert batch.backward is not None
    for i, address in enumerate(batches.addresses(0)):
        height, width = batch.sizes[i].tolist()
        assert (height, width) == mixed_target[address.sequence].size
        one = batches.cache.batch([address])
        assert torch.equal(batch.image1[i, :, :height, :width], one.image1[0])
        assert torch.equal(batch.image2[i, :, :height, :width], one.image2[0])
        flow = model(one.image1, one.image2)[0]
        assert torch.equal(batch.forward[i, :, :height, :width], flow)
        assert torch.equal(batch.backward[i, :, :height, :width], -flow)
        assert batch.image1[i, :, height:].abs().sum() == 0
        assert batch.image1[i, :, :, width:].abs().sum() == 0


def test_a_batch_is_a_pure_function_of_its_number(mixed_target: Target):
    pairs = [PairAddress(name, i, i + 1) for name in ("a", "b") for i in range(2)]
    batches = FrameBatches(FrameCache(mixed_target), pairs, seed=3, batch_size=2)
    source = FrameSource(batches, None)
    first, second, again = source(0), source(1), source(0)
    assert torch.equal(first.image1, again.image1)
    assert torch.equal(first.keys, again.keys)
    assert not torch.equal(first.keys, second.keys)
    assert first.forward is None


def test_padding_leaves_values_where_they_are():
    values = [torch.ones(1, 2, 3, 5), torch.full((1, 2, 4, 2), 2.0)]
    batch = padded(values)
    assert batch.shape == (2, 2, 4, 5)
    assert torch.equal(batch[:1, :, :3], values[0])
    assert torch.equal(batch[1:, :, :, :2], values[1])
    assert batch.sum() == 30 + 32
