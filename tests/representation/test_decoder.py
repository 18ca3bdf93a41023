"""The decoder against a slow twin, and where its cells lie."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.decoder import FPN
from representation.encoder import cell_offset, cell_positions
from representation.models import build, load, save
from representation.optimizer import parameter_groups

CHANNELS, STRIDES = (5, 6, 7, 8), (4, 8, 16, 32)


def stages(height: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, -(-height // s), -(-width // s), generator=generator).double()
        for channels, s in zip(CHANNELS, STRIDES, strict=True)
    ]


def twice(x: Tensor, height: int, width: int) -> Tensor:
    """Upsampling by two, one cell at a time: even cells stay, odd ones are means of two."""
    out = x.new_zeros(*x.shape[:2], height, width)
    last_row, last_column = x.shape[2] - 1, x.shape[3] - 1
    for i in range(height):
        for j in range(width):
            rows = (i // 2, min((i + 1) // 2, last_row))
            columns = (j // 2, min((j + 1) // 2, last_column))
            cells = [x[:, :, row, column] for row in rows for column in columns]
            out[:, :, i, j] = torch.stack(cells).mean(0)
    return out


def merged_by_hand(fpn: FPN, inputs: list[Tensor], height: int, width: int) -> Tensor:
    sizes = {s: (-(-height // s), -(-width // s)) for s in STRIDES}
    pyramid = {32: fpn.lateral[3](inputs[3])}
    for number, stride in ((2, 16), (1, 8), (0, 4)):
        coarser = twice(pyramid[2 * stride], *sizes[stride])
        pyramid[stride] = fpn.lateral[number](inputs[number]) + coarser
    total: Tensor | None = None
    for number, stride in enumerate(STRIDES):
        x, at = fpn.smooth[number](pyramid[stride]), stride
        assert len(fpn.merge[number]) == (1, 1, 2, 3)[number]
        for convolution, norm, _ in fpn.merge[number]:
            x = F.conv2d(x, convolution.weight, padding=1)
            x = F.relu(F.group_norm(x, 32, norm.weight, norm.bias))
            if at > 4:
                at //= 2
                x = twice(x, *sizes[at])
        total = x if total is None else total + x
    return fpn.last(total)


@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_the_decoder_equals_a_slow_twin(size: tuple[int, int]):
    torch.manual_seed(0)
    fpn = FPN(CHANNELS, STRIDES, pyramid=16).double()
    inputs = stages(*size)
    found = fpn(inputs, size)
    assert found.shape == (2, 128, -(-size[0] // 4), -(-size[1] // 4))
    torch.testing.assert_close(found, merged_by_hand(fpn, inputs, *size))


@pytest.mark.parametrize(
    ("strides", "alignment"), [(STRIDES, 0.0), (STRIDES, 1.0), ((4, 8, 8, 8), 0.0), ((16, 16), 1.0)]
)
def test_upsampling_keeps_what_lies_where(strides: tuple[int, ...], alignment: float):
    """A map that is linear in the image is the same map at any stride, but for the border."""
    fpn = FPN((1,) * len(strides), strides, alignment)
    size, coarse = (96, 128), strides[-1]
    cells = size[0] // coarse, size[1] // coarse
    offset = cell_offset(coarse, alignment)
    ramp = cell_positions(*cells, coarse, offset)
    found = fpn._resampled(ramp, coarse, 4, size)
    expected = cell_positions(24, 32, 4, cell_offset(4, alignment))
    inner = ((expected >= offset) & (expected <= ramp.amax((2, 3), keepdim=True))).all(1)[0]
    assert inner.float().mean() > 0.4
    torch.testing.assert_close(found[0][:, inner], expected[0][:, inner])
    inputs = [torch.rand(1, 1, size[0] // s, size[1] // s) for s in strides]
    assert fpn(inputs, size).shape == (1, 128, 24, 32)


def test_the_decoder_stays_with_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path))
    encoder = build("resnet18", 32, "fpn").eval()
    assert (encoder.stride, encoder.channels, encoder.offset) == (4, 128, 0)
    images = torch.rand(1, 3, 70, 90)
    path = save("mine", encoder, {})
    again = load("mine")
    with torch.no_grad():
        features = encoder(images)
        assert torch.equal(again(images), features)
        assert torch.equal(load(path, stride=32)(images), features)
        # The map is the decoder's of the backbone's own stages.
        expected = encoder.decoder(build_like(encoder).stages(images), (70, 90))
    assert features.shape == (1, 128, 18, 23)
    torch.testing.assert_close(features, expected)
    assert encoder.positions(70, 90).shape == (1, 2, 18, 23)


def build_like(encoder: torch.nn.Module) -> torch.nn.Module:
    bare = copy.deepcopy(encoder)
    bare.decoder = None
    return bare


def test_backbone_and_decoder_can_have_rates_of_their_own():
    encoder = build("resnet18", 32, "fpn")
    groups = [
        *parameter_groups(encoder.backbone, 1e-4),
        *parameter_groups([encoder.decoder]),
    ]
    slow = {id(p) for group in groups[:2] for p in group["params"]}
    fast = {id(p) for group in groups[2:] for p in group["params"]}
    assert slow == {id(p) for p in build_parameters(encoder, decoder=False)}
    assert fast == {id(p) for p in build_parameters(encoder, decoder=True)}


def build_parameters(encoder: torch.nn.Module, *, decoder: bool) -> list[Tensor]:
    named = encoder.named_parameters()
    return [p for name, p in named if name.startswith("decoder.") == decoder]


def test_its_size_is_what_is_said():
    fpn = FPN((256, 512, 1024, 2048), STRIDES)
    assert round(sum(p.numel() for p in fpn.parameters()) / 1e6, 1) == 5.0
