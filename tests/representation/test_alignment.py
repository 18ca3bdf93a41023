"""RoI alignment against torchvision's, and all alignments against where cells lie."""

import pytest
import torch
import torchvision
from torch import Tensor

from representation.alignment import (
    align_common_part,
    cells_in_frame,
    offset_map,
    roi_align,
    upright,
)
from representation.correspondence import View
from representation.crops import box_to_frame
from representation.overlap import common_part
from representation.resnet import ResNet
from selfflow import affine

SIZE = (96, 128)
BOXES = torch.tensor([(3, 5, 60, 40), (10, 0, 50, 90), (0, 20, 100, 30), (7, 7, 64, 48)]).double()
OTHERS = torch.tensor([(8, 1, 60, 40), (0, 10, 70, 60), (20, 10, 90, 35), (7, 7, 64, 48)]).double()
MIRRORED = torch.tensor([False, True, False, True])
OTHERS_MIRRORED = torch.tensor([False, False, True, True])


def view_of(boxes: Tensor, mirrored: Tensor) -> View:
    edges = boxes[:, :2] - 0.5
    to_frame = box_to_frame(boxes, mirrored, *SIZE)
    return View(torch.zeros(4, 3, *SIZE).double(), to_frame, edges, edges + boxes[:, 2:])


def maps(seed: int = 0, channels: int = 5, stride: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (4, channels, SIZE[0] // stride, SIZE[1] // stride)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def encoder() -> ResNet:
    return ResNet("resnet18", 16)


@pytest.mark.parametrize("offset", [0.0, 7.5])
@pytest.mark.parametrize("sampling_ratio", [1, -1])
def test_roi_alignment_is_torchvisions_in_value_and_gradient(offset: float, sampling_ratio: int):
    """Of maps flipped back, with boxes in cells; torchvision's first cell spans 0 to 1."""
    view, other, features = view_of(BOXES, MIRRORED), view_of(OTHERS, OTHERS_MIRRORED), maps()
    features.requires_grad_()
    low, high = common_part(view, other)
    low = low + 0.1  # so that no bin is larger than a cell by rounding
    found = roi_align(features, view, low, high, stride=16, offset=offset)
    corners = torch.stack((low, high), 2)[:, :, None]
    in_view = affine.apply(affine.invert(view.to_frame), corners)[:, :, 0].transpose(1, 2)
    cells = ((in_view - offset) / 16).sort(1).values
    # Flipped back, cell j is what was cell w - 1 - j.
    last = torch.tensor((features.shape[3] - 1.0, 0.0)).double()
    flipped_back = torch.stack(
        (last[0] - cells[:, 1, 0], cells[:, 0, 1], last[0] - cells[:, 0, 0], cells[:, 1, 1]), 1
    )
    boxes = torch.where(MIRRORED[:, None], flipped_back, cells.flatten(1)) + 0.5
    expected = torchvision.ops.roi_align(
        torch.where(MIRRORED[:, None, None, None], features.flip(3), features),
        list(boxes[:, None]),
        output_size=features.shape[2:],
        sampling_ratio=sampling_ratio,
        aligned=True,
    )
    torch.testing.assert_close(found, expected)
    direction = maps(1)
    (one,) = torch.autograd.grad((found * direction).sum(), features)
    (two,) = torch.autograd.grad((expected * direction).sum(), features)
    torch.testing.assert_close(one, two)


def places(view: View, encoder: ResNet) -> Tensor:
    """Features that say where in the frame their cell is centred."""
    return affine.apply(view.to_frame, encoder.positions(*SIZE).double())


def test_aligned_cells_show_the_same_place(encoder: ResNet):
    view, other = view_of(BOXES, MIRRORED), view_of(OTHERS, OTHERS_MIRRORED)
    here, there = places(view, encoder), places(other, encoder)
    one, two = align_common_part(view, other, here, there, encoder)
    low, high = common_part(view, other)
    height, width = here.shape[2:]
    inner = 0
    for b in range(4):
        for y in range(height):
            for x in range(width):
                share = torch.tensor(((x + 0.5) / width, (y + 0.5) / height)).double()
                expected = low[b] + share * (high[b] - low[b])
                covered = all(
                    (expected >= seen[b].flatten(1).amin(1)).all()
                    and (expected <= seen[b].flatten(1).amax(1)).all()
                    for seen in (here, there)
                )
                if covered:  # beyond the outermost cells' centres their values are read
                    inner += 1
                    torch.testing.assert_close(one[b, :, y, x], expected)
                    torch.testing.assert_close(two[b, :, y, x], expected)
    assert inner > 0.5 * 4 * height * width


def test_mirrored_maps_are_flipped_back():
    features = maps()
    found = upright(features, view_of(BOXES, MIRRORED))
    for b in range(4):
        for x in range(8):
            source = 7 - x if MIRRORED[b] else x
            assert torch.equal(found[b, :, :, x], features[b, :, :, source])


def test_offsets_lead_from_cell_to_cell(encoder: ResNet):
    view, other = view_of(BOXES, MIRRORED), view_of(OTHERS, OTHERS_MIRRORED)
    pixels = offset_map(view, other, encoder, normalised=False)
    here, there = (upright(places(each, encoder), each) for each in (view, other))
    torch.testing.assert_close(cells_in_frame(view, encoder), here)
    torch.testing.assert_close(here + pixels, there)
    relative = offset_map(view, other, encoder)
    for b in range(4):
        size = here[b, :, -1, -1] - here[b, :, 0, 0]
        assert (size > 0).all()
        torch.testing.assert_close(relative[b] * size[:, None, None], pixels[b])


def test_offsets_are_the_papers_by_hand(encoder: ResNet):
    """Equation 5: views as large as their boxes, one 32 pixels to the right and 16 further down."""
    first = torch.tensor([(0.0, 0.0, 128.0, 96.0)]).expand(4, -1)
    second = torch.tensor([(32.0, 16.0, 128.0, 96.0)]).expand(4, -1)
    plain = torch.zeros(4, dtype=torch.bool)
    view, other = view_of(first.double(), plain), view_of(second.double(), plain)
    expected = torch.tensor((32.0, 16.0)).double()
    found = offset_map(view, other, encoder, normalised=False)
    torch.testing.assert_close(found, expected[:, None, None].expand_as(found))
    # From the first to the last of 8 x 6 cells it is 7 and 5 times 16 pixels.
    relative = offset_map(view, other, encoder)
    expected = expected / torch.tensor((7 * 16, 5 * 16))
    torch.testing.assert_close(relative, expected[:, None, None].expand_as(found))


def test_the_same_views_have_no_offset(encoder: ResNet):
    view = view_of(BOXES, MIRRORED)
    assert offset_map(view, view, encoder).abs().max() < 1e-9


def test_a_single_row_of_cells_has_no_size(encoder: ResNet):
    view = view_of(BOXES, MIRRORED)
    thin = View(view.images[:, :, :16], view.to_frame, view.low, view.high)
    with pytest.raises(ValueError, match="single cell"):
        offset_map(thin, thin, encoder)


@pytest.mark.slow
def test_features_of_a_mirror_image_agree_where_cells_are_read_where_they_are():
    """A ResNet's flipped map lies almost a cell beside the other; parts that are read do not."""
    torch.manual_seed(0)
    encoder = ResNet("resnet18", 16).eval()
    frame = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 32), scale_factor=8, mode="bicubic"
    )
    frame = frame.clamp(0, 1)
    box = torch.tensor([(0.0, 0.0, 256.0, 192.0)])
    plain = torch.tensor([False])
    views = []
    for mirrored in (plain, ~plain):
        images = frame.flip(3) if mirrored else frame
        edges = box[:, :2] - 0.5
        views.append(View(images, box_to_frame(box, mirrored, 192, 256), edges, edges + box[:, 2:]))
    with torch.no_grad():
        first, second = (encoder(view.images) for view in views)

    def difference(one: Tensor, other: Tensor) -> float:
        inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
        return (one[inner] - other[inner]).square().mean().item()

    aligned = difference(*align_common_part(*views, first, second, encoder))
    flipped = difference(upright(first, views[0]), upright(second, views[1]))
    assert aligned < 0.6 * flipped
