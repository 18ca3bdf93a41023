"""Whole sequences: what is propagated from what, and what becomes of a film that is known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.readout.propagation import clip
from representation.readout.propagation.cells import Cells
from representation.readout.propagation.clip import (
    Memory,
    decided,
    matching_seconds,
    propagate_clip,
    rescaled,
)
from representation.readout.propagation.neighbours import Known, Matching, labels_at, propagated

SHAPE, STRIDE = (6, 13), 4
SIZE = (SHAPE[0] * STRIDE, SHAPE[1] * STRIDE)
CELLS = Cells.spread(SHAPE, SIZE)
CRW = Memory(20, True, False, "bilinear", "none", "frame")
DINO = Memory(7, False, True, "nearest", "output", "input")
TIMECYCLE = Memory(7, True, False, "bilinear", "maps", "input")
MATCHINGS = {
    "crw": (Matching(10, 0.05, radius=3.0), CRW),
    "dino": (Matching(5, 0.1, radius=2.0, window="square"), DINO),
    "vader": (Matching(5, 512**-0.5, "each"), TIMECYCLE),
}


def moving(*, permuted: bool = False) -> Callable[[int], Tensor]:
    """Features of a texture that moves right by a cell a frame, each cell's unlike all others'."""
    generator = torch.Generator().manual_seed(0)
    texture = F.normalize(torch.randn(*SHAPE, 64, generator=generator), dim=2)

    def features(index: int) -> Tensor:
        if permuted and index:
            order = torch.randperm(SHAPE[0] * SHAPE[1], generator=generator)
            return texture.flatten(0, 1)[order].view_as(texture)
        return texture.roll(index, 1)

    return features


def mask(index: int) -> Tensor:
    """Two objects that move right by a cell a frame, from top to bottom of the frame.

    Maps are drawn bilinearly, which rounds corners; these have none.
    """
    cells = torch.zeros(SHAPE, dtype=torch.uint8)
    cells[:, 3 + index : 5 + index] = 1
    cells[:, 5 + index : 7 + index] = 2
    return cells.repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)


@pytest.mark.parametrize("name", MATCHINGS)
def test_masks_on_a_moving_texture_are_perfect_and_on_a_permuted_one_are_not(name: str) -> None:
    matching, memory = MATCHINGS[name]
    found = list(propagate_clip(moving(), 5, mask(0), CELLS, matching, memory))
    assert len(found) == 4
    for index, each in enumerate(found, 1):
        assert torch.equal(each, mask(index))
    lost = list(propagate_clip(moving(permuted=True), 5, mask(0), CELLS, matching, memory))
    for index, each in enumerate(lost, 1):
        agreement = ((each == mask(index)) & (each > 0)).sum() / (mask(index) > 0).sum()
        assert agreement < 0.6


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("previous", [0, 2, 3])
def test_masks_come_from_the_first_frame_and_so_many_before(previous: int, padded: bool) -> None:
    """Frame by frame, with contexts listed by index."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, *SHAPE, 8, generator=generator, dtype=torch.float64)
    memory = replace(CRW, previous=previous, padded=padded)
    matching = Matching(6, 0.8, radius=2.5)
    found = list(propagate_clip(lambda index: features[index], 6, mask(0), CELLS, matching, memory))
    labels = F.one_hot(mask(0).long(), 3).permute(2, 0, 1).double()
    maps = [CELLS.read(labels, "bilinear").permute(1, 2, 0)]
    for index in range(1, 6):
        # The codes put `previous` copies of frame 0 in front of the film.
        before = range(index - previous, index)
        used = [max(each, 0) for each in before] if padded else [b for b in before if b > 0]
        context = [Known(features[0], maps[0], windowed=False)]
        context += [Known(features[each], maps[each]) for each in used]
        maps.append(propagated(features[index], context, matching, tile=100))
        expected = CELLS.draw(maps[-1].permute(2, 0, 1), SIZE).argmax(0).byte()
        assert torch.equal(found[index - 1], expected)


def test_features_of_a_frame_are_computed_once() -> None:
    asked = []
    features = moving()

    def counted(index: int) -> Tensor:
        asked.append(index)
        return features(index)

    list(propagate_clip(counted, 5, mask(0), CELLS, *MATCHINGS["crw"]))
    assert asked == [0, 1, 2, 3, 4]


def test_the_window_of_the_first_frame_is_a_choice() -> None:
    """A texture that jumps further than the window is found in the first frame alone."""
    features = moving()
    matching = Matching(1, 0.05, radius=2.0)
    for windowed, perfect in ((False, True), (True, False)):
        memory = replace(CRW, first_windowed=windowed)
        found = list(propagate_clip(lambda i: features(4 * i), 2, mask(0), CELLS, matching, memory))
        assert torch.equal(found[0], mask(4)) == perfect


def test_rescaling_is_by_each_objects_least_and_largest_value() -> None:
    maps = torch.tensor([[[0.2, 0.6]], [[0.0, 0.1]], [[0.3, 0.3]]])
    assert rescaled(maps).tolist() == [[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 0.0]]]


def test_rescaling_the_output_or_the_maps_decides_otherwise_than_none() -> None:
    """A faint object wins where its own map is largest."""
    maps = torch.tensor([[[0.9, 0.8, 0.7]], [[0.1, 0.2, 0.3]]])
    cells = Cells.spread((1, 3), (1, 3))
    none = decided(maps, cells, CRW, (1, 3))
    output = decided(maps, cells, DINO, (1, 3))
    assert none.tolist() == [[0, 0, 0]]
    assert output.tolist() == [[0, 0, 1]]
    # Maps are rescaled by whoever propagates them, before they are drawn.
    assert decided(maps, cells, TIMECYCLE, (1, 3)).tolist() == [[0, 0, 0]]


def test_a_mask_may_be_decided_at_the_inputs_size() -> None:
    maps = torch.tensor([[[0.0, 0.7, 0.2], [0.9, 0.0, 0.6]]])
    maps = torch.cat((maps, 1 - maps))
    cells = Cells.spread((2, 3), (8, 12))
    small = decided(maps, cells, replace(CRW, decision="input"), (8, 12))
    large = decided(maps, cells, replace(CRW, decision="input"), (16, 24))
    assert torch.equal(large, small.repeat_interleave(2, 0).repeat_interleave(2, 1))
    smooth = decided(maps, cells, CRW, (16, 24))
    assert not torch.equal(smooth, large)


def test_the_time_of_a_frame_is_told_from_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 x 4 tiles of at most 12 cells a side, of which the middle one is matched twice."""
    seen = []

    def watched(place: tuple[slice, slice], *arguments: Any) -> Tensor:
        seen.append((place, len(arguments[1])))
        return labels_at(place, *arguments)

    monkeypatch.setattr(clip, "labels_at", watched)
    monkeypatch.setattr(clip, "seconds_of", lambda work, _: (work(), 0.5)[1])
    features = torch.randn(20, 40, 8)
    assert matching_seconds(features, *MATCHINGS["crw"]) == 0.5 * 8
    assert seen == [((slice(12, 20), slice(24, 36)), 21)] * 2
