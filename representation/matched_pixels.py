"""Two random crops of an image, and pixels of one with where they are found in the other.

VADeR's sampling of views and pixels (Pinheiro et al., NeurIPS 2020, sections 3.2 and 4.3). "Pixels"
are those of the map that the network makes, cells here, each at its place in the image.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from representation.correspondence import View, within
from representation.crops import ResizedCrop, draw_resized_crops, take_view
from representation.distortion import MOCO_V2, Distortion
from representation.method import Frames
from selfflow import affine
from selfflow.random import bits, purpose
from selfflow.runs.parameter import parameter_range

ATTEMPTS = 100


class MatchedViews(ResizedCrop):
    """What the two views of an image show, and which pixels are matched.

    The defaults are VADeR's: MoCo's transformations, and different crops.
    """

    scale: tuple[float, float] = parameter_range(
        (0.2, 1.0), 1e-4, 1.0, unit="share", meaning="area of a crop in that of its frame"
    )
    first: Distortion = MOCO_V2
    second: Distortion = MOCO_V2
    sampling: Literal["unmatched", "same", "different"] = Field(
        "different",
        description="of views: different crops with their true matches; the same crop twice; or "
        "different crops with any two pixels as a match",
    )
    pixels: int = Field(
        32, ge=1, description="matches drawn of each pair of views, which share at least as many"
    )


@dataclass(frozen=True)
class MatchedPair:
    """Two views of each image and their matches.

    Attributes:
        view1: of the image.
        view2: of the same.
        positions: pixels of view 1, `(B, 2, 1, N)`.
        targets: their matches, in pixels of view 2, likewise.
        valid: share of view 1's cells that view 2 shows, `(B,)`.
    """

    view1: View
    view2: View
    positions: Tensor
    targets: Tensor
    valid: Tensor


def take_matched_views(frames: Frames, settings: MatchedViews, cells: Tensor) -> MatchedPair:
    """Return two random views of each pair's first frame, with matches.

    Args:
        frames: of which `image2` is not looked at.
        settings: of crops, distortions and matches.
        cells: where those of a view lie in it, `(1, 2, h, w)` pixels, on the CPU.
    """
    first, second = draw_matching_crops(frames.keys, frames.sizes, settings, cells)
    positions, targets = draw_matches(frames.keys, first, second, settings, cells)
    size, image = (settings.height, settings.width), frames.image1

    def view(number: int, to_frame: Tensor, distortion: Distortion) -> View:
        return take_view(image, to_frame, size, purpose(frames.keys, "view", number), distortion)

    _, valid = found_in(first, second, settings, cells)
    return MatchedPair(
        view(1, first, settings.first),
        view(2, second, settings.second),
        positions.to(image.device),
        targets.to(image.device),
        valid.float().mean((1, 2, 3)).to(image.device),
    )


def draw_matching_crops(
    keys: Tensor, sizes: Tensor, settings: MatchedViews, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the maps of two random crops of each frame, from view to frame, `(B, 2, 3)` each.

    Pairs are drawn again until view 2 shows at least `settings.pixels` cells of view 1; attempt n
    of a sample depends on its key and n alone. After 100 in vain, as with the sampling "same", both
    crops are the first, mirrored alike.

    Args:
        keys: one a frame, `(B,)`.
        sizes: height and width of the frames, `(B, 2)`.
        settings: of the crops and matches.
        cells: where those of a view lie in it, `(1, 2, h, w)` pixels.
    """
    first, second = torch.empty(2, len(keys), 2, 3)
    waiting = torch.arange(len(keys))
    for number in range(ATTEMPTS):
        for view, crops in ((1, first), (2, second)):
            each = purpose(purpose(keys[waiting], "matching crops", number), "crop", view)
            crops[waiting] = draw_resized_crops(each, sizes[waiting], settings)
        if settings.sampling == "same":
            break
        _, valid = found_in(first[waiting], second[waiting], settings, cells)
        waiting = waiting[valid.sum((1, 2, 3)) < settings.pixels]
        if not len(waiting):
            break
    second[waiting] = first[waiting]
    return first, second


def draw_matches(
    keys: Tensor, first: Tensor, second: Tensor, settings: MatchedViews, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Return random cells of view 1 and their matches in view 2, `(B, 2, 1, N)` pixels each.

    Without repetition, among those that view 2 shows. A match is the same point of the frame, which
    lies anywhere between view 2's cells. Of the sampling "unmatched" both are cells of their views,
    drawn independently of each other.

    Args:
        keys: one a frame, `(B,)`.
        first: view 1's map to its frame, `(B, 2, 3)`.
        second: view 2's map, likewise.
        settings: of the crops and matches.
        cells: where those of a view lie in it, `(1, 2, h, w)` pixels.
    """
    found, valid = found_in(first, second, settings, cells)
    if settings.sampling == "unmatched":
        found, valid = cells, torch.ones_like(valid)
    chosen = _choose(purpose(keys, "matches"), valid, settings.pixels)
    others = chosen
    if settings.sampling == "unmatched":
        others = _choose(purpose(keys, "unmatched"), valid, settings.pixels)
    return _at(cells, chosen), _at(found, others)


def found_in(
    first: Tensor, second: Tensor, settings: ResizedCrop, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where view 2 shows the cells of view 1, `(B, 2, h, w)` pixels, and which it shows.

    What `representation.correspondence` says of two views of one frame, from their maps alone.
    """
    found = affine.apply(affine.invert(second), affine.apply(first, cells))
    return found, within(found, settings.height, settings.width)


def _choose(keys: Tensor, valid: Tensor, count: int) -> Tensor:
    """Return the numbers of `count` random cells of those valid `(B, 1, h, w)`, `(B, count)`."""
    allowed = valid.flatten(1)
    order = torch.where(allowed, bits(keys, allowed.shape[1]), -1)
    return order.argsort(dim=1, descending=True, stable=True)[:, :count]


def _at(positions: Tensor, chosen: Tensor) -> Tensor:
    """Return positions `(B or 1, 2, h, w)` at cells by number `(B, N)`, `(B, 2, 1, N)`."""
    flat = positions.flatten(2).expand(len(chosen), -1, -1)
    return flat.gather(2, chosen[:, None].expand(-1, 2, -1))[:, :, None]
