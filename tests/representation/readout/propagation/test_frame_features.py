"""Which features of an encoder are read, and where they lie."""

import numpy as np
import pytest
import torch

from representation import models
from representation.encoder import Encoder, cell_positions
from representation.readout.propagation.frame_features import FrameFeatures
from selfflow.io import Bytes
from selfflow.sequences import Sequence


class Noise(Sequence):
    """Two frames of noise, 40x52."""

    name = "noise"

    def __len__(self) -> int:
        return 2

    def frame(self, index: int) -> Bytes:
        return np.random.default_rng(index).integers(0, 256, (40, 52, 3), np.uint8)


def features_of(encoder: Encoder, *, without: bool = True, aligned: bool = True) -> FrameFeatures:
    return FrameFeatures(
        encoder,
        side=None,
        fit="short",
        multiple=1,
        antialias=False,
        without_last_stage=without,
        normalised=False,
        aligned=aligned,
    )


def test_the_last_stage_is_left_out_where_the_backbone_stands_alone() -> None:
    encoder = models.build("resnet18", 16).eval()
    frames = Noise()
    image = torch.from_numpy(frames.frame(1)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        stages = encoder.stages(image)
    without, whole = features_of(encoder), features_of(encoder, without=False)
    assert (without.channels, without.stride) == (256, 16)
    assert (whole.channels, whole.stride) == (512, 16)
    torch.testing.assert_close(without(frames, 1), stages[-2][0].permute(1, 2, 0))
    torch.testing.assert_close(whole(frames, 1), stages[-1][0].permute(1, 2, 0))
    assert without.cells(frames.size).shape == without(frames, 0).shape[:2] == (3, 4)


def test_a_decoders_features_are_taken_whole() -> None:
    features = features_of(models.build("resnet18", 32, "fpn").eval())
    frames = Noise()
    assert (features.stage, features.stride) == (None, 4)
    assert features(frames, 0).shape == (10, 13, features.channels)
    assert features.cells(frames.size).shape == (10, 13)


@pytest.mark.parametrize("aligned", [True, False])
def test_cells_lie_where_the_encoder_says_or_are_spread_evenly(aligned: bool) -> None:
    cells = features_of(models.build("resnet18", 8), aligned=aligned).cells((40, 52))
    assert cells.shape == (5, 7)
    x, y = cell_positions(5, 7, 8)[0, :, 1, 1].tolist()
    found = tuple(scale + offset for scale, offset in zip(cells.scales, cells.offsets, strict=True))
    assert found == ((y, x) if aligned else (8 + 3.5, 1.5 * 52 / 7 - 0.5))
