"""Flow against slow twins in float64, and the claims that its functions make."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfflow.flow import (
    check_flow,
    check_images,
    check_mask,
    compose,
    consistent,
    inside,
    pixel_grid,
    project_forward,
    range_map,
    resize_flow,
    round_trip_error,
    sample,
    stays_inside,
    visible_by_consistency,
    warp,
)

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def random_flow(height: int, width: int, strength: float, seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    flow = torch.randn(batch, 2, height, width, generator=generator, dtype=torch.float64)
    return strength * flow


def read_pixel(values: Tensor, x: int, y: int) -> Tensor:
    """Return one pixel of `(C, H, W)`; zero outside."""
    height, width = values.shape[-2:]
    if 0 <= x < width and 0 <= y < height:
        return values[:, y, x]
    return values.new_zeros(len(values))


def slow_sample(values: Tensor, positions: Tensor) -> Tensor:
    rows = []
    for image, places in zip(values, positions, strict=True):
        for x, y in places.flatten(1).T.tolist():
            left, top = math.floor(x), math.floor(y)
            total = image.new_zeros(len(image))
            for dx in (0, 1):
                for dy in (0, 1):
                    weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                    total += weight * read_pixel(image, left + dx, top + dy)
            rows.append(total)
    batch, channels = values.shape[:2]
    return torch.stack(rows, -1).view(channels, batch, *positions.shape[-2:]).transpose(0, 1)


def slow_range_map(flow: Tensor) -> Tensor:
    batch, _, height, width = flow.shape
    total = torch.zeros(batch, 1, height, width, dtype=flow.dtype)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                to_x, to_y = x + float(flow[b, 0, y, x]), y + float(flow[b, 1, y, x])
                for j in range(height):
                    for i in range(width):
                        weight = max(0, 1 - abs(to_x - i)) * max(0, 1 - abs(to_y - j))
                        total[b, 0, j, i] += weight
    return total


def test_the_grid_holds_x_and_y_of_every_pixel() -> None:
    grid = pixel_grid(2, 3)
    assert grid.shape == (1, 2, 2, 3)
    for y in range(2):
        for x in range(3):
            assert grid[0, :, y, x].tolist() == [x, y]
    assert pixel_grid(1, 1, dtype=torch.float64).dtype == torch.float64


@given(sizes, sizes, st.integers(0, 100))
@settings(max_examples=30)
def test_sampling_is_the_slow_twins(
    size: tuple[int, int], read: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    scale = torch.tensor([size[1] + 2.0, size[0] + 2.0], dtype=torch.float64).view(1, 2, 1, 1)
    positions = torch.rand(2, 2, *read, generator=generator, dtype=torch.float64) * scale - 1.5
    if min(size) == 1:  # a frame of one pixel's width is read within it
        positions = positions.round().clamp(min=0).minimum(scale - 3)
    torch.testing.assert_close(sample(values, positions), slow_sample(values, positions))


def test_samplings_gradients_are_the_slow_twins() -> None:
    values = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    positions = (torch.rand(2, 2, 4, 4, dtype=torch.float64) * 6 - 0.5).requires_grad_()
    weights = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    fast = torch.autograd.grad((sample(values, positions) * weights).sum(), (values, positions))
    slow = torch.autograd.grad((slow_sample(values, positions) * weights).sum(), values)
    torch.testing.assert_close(fast[0], slow[0])
    assert torch.autograd.gradcheck(lambda p: sample(values.detach(), p), positions)


@given(sizes, st.integers(0, 100))
@settings(max_examples=30)
def test_the_identity_warp_returns_the_input(size: tuple[int, int], seed: int) -> None:
    values = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(warp(values, torch.zeros(2, 2, *size)), values)


@given(st.integers(-4, 4), st.integers(-4, 4))
def test_a_whole_pixel_warp_is_a_shift(dx: int, dy: int) -> None:
    values = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    flow = torch.tensor([dx, dy], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 6, 7)
    warped = warp(values, flow)
    for y in range(6):
        for x in range(7):
            expected = read_pixel(values[0], x + dx, y + dy)
            torch.testing.assert_close(warped[0, :, y, x], expected)


def affine_flow(matrix: Tensor, shift: Tensor, height: int, width: int) -> Tensor:
    grid = pixel_grid(height, width, dtype=torch.float64)
    moved = torch.einsum("ij,bjhw->bihw", matrix, grid) + shift.view(1, 2, 1, 1)
    return moved - grid


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_composition_follows_one_map_after_the_other(seed: int) -> None:
    """Affine maps compose by matrices; bilinear reading of an affine flow is exact."""
    generator = torch.Generator().manual_seed(seed)

    def near(centre: Tensor, spread: float) -> Tensor:
        noise = torch.randn(centre.shape, generator=generator, dtype=torch.float64)
        return centre + spread * noise

    eye, zero = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    (a, b), (s, t) = (near(eye, 0.05), near(eye, 0.05)), (near(zero, 1), near(zero, 1))
    first, second = affine_flow(a, s, 12, 15), affine_flow(b, t, 12, 15)
    expected = affine_flow(b @ a, b @ s + t, 12, 15)
    there = stays_inside(first).expand_as(first)
    torch.testing.assert_close(compose(first, second)[there], expected[there])


def test_inside_holds_on_the_outermost_pixel_centres_and_not_beyond() -> None:
    positions = torch.tensor([[0, 0], [4, 2], [-0.01, 1], [4.01, 1], [1, -0.01], [1, 2.01]])
    found = inside(positions.T.view(1, 2, 1, 6), height=3, width=5)
    assert found.flatten().tolist() == [True, True, False, False, False, False]
    assert found.shape == (1, 1, 1, 6)


def test_stays_inside_asks_where_the_flow_leads() -> None:
    flow = torch.zeros(1, 2, 3, 4)
    flow[:, 0] = 1.5
    assert stays_inside(flow)[0, 0].tolist() == [[True, True, False, False]] * 3


def test_round_trip_error_is_the_slow_twins() -> None:
    forward, backward = random_flow(5, 6, 1.0, 1), random_flow(5, 6, 1.0, 2)
    error, magnitude = round_trip_error(forward, backward)
    target = pixel_grid(5, 6, dtype=torch.float64) + forward
    returned = slow_sample(backward, target)
    for b in range(2):
        for y in range(5):
            for x in range(6):
                f, r = forward[b, :, y, x], returned[b, :, y, x]
                assert error[b, 0, y, x] == pytest.approx(float((f + r) @ (f + r)))
                assert magnitude[b, 0, y, x] == pytest.approx(float(f @ f + r @ r))


def test_consistency_has_a_relative_and_an_absolute_part() -> None:
    forward = torch.full((1, 2, 1, 40), 0.0)
    forward[:, 0] = 3.0
    for error, relative, absolute, expected in (
        (0.70, 0.0, 0.5, True),  # 0.49 <= 0.5
        (0.72, 0.0, 0.5, False),
        (0.39, 0.01, 0.0, True),  # 0.152 <= 0.01 · (9 + 6.81)
        (0.42, 0.01, 0.0, False),
    ):
        backward = -forward.clone()
        backward[:, 0] += error
        found = consistent(forward, backward, relative=relative, absolute=absolute)
        assert found[0, 0, 0, 10].item() is expected


def moving_square(dx: int, dy: int) -> tuple[Tensor, Tensor, Tensor]:
    """A 4x4 square moves over a background at rest: forward, backward, what it covers."""
    square = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    square[..., 6:10, 6:10] = True
    moved = square.roll((dy, dx), (2, 3))
    motion = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1)
    return motion * square, -motion * moved, moved & ~square


@pytest.mark.parametrize(("dx", "dy"), [(4, 0), (0, -5), (3, 3), (-6, 2)])
def test_a_moving_square_hides_what_it_covers(dx: int, dy: int) -> None:
    forward, backward, covered = moving_square(dx, dy)
    assert torch.equal(visible_by_consistency(forward, backward), ~covered)
    assert torch.equal(range_map(backward) > 0.5, ~covered)


def test_what_leaves_the_frame_is_not_visible() -> None:
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 3
    assert visible_by_consistency(flow, -flow)[0, 0, 0].tolist() == [True] * 5 + [False] * 3


@given(sizes, st.floats(0, 4), st.integers(0, 100))
@settings(max_examples=15)
def test_the_range_map_is_the_slow_twins(size: tuple[int, int], strength: float, seed: int) -> None:
    flow = random_flow(*size, strength, seed)
    torch.testing.assert_close(range_map(flow), slow_range_map(flow))


def test_the_range_map_keeps_what_stays_inside() -> None:
    still = torch.zeros(1, 2, 5, 6)
    assert torch.equal(range_map(still), torch.ones(1, 1, 5, 6))
    towards_centre = 0.3 * (torch.tensor([2.5, 2.0]).view(1, 2, 1, 1) - pixel_grid(5, 6))
    assert range_map(towards_centre).sum() == pytest.approx(30)


@pytest.mark.parametrize("size", [(8, 12), (3, 4), (16, 6)])
def test_resized_flow_is_in_the_new_pixels(size: tuple[int, int]) -> None:
    """An affine motion about the corner of the frame stays one, in any size."""
    old = (8, 6)

    def motion(height: int, width: int) -> Tensor:
        x, y = pixel_grid(height, width, dtype=torch.float64).unbind(1)
        x, y = (x + 0.5) / width, (y + 0.5) / height  # shares of the frame
        return torch.stack(((0.2 * x + 0.1 * y) * width, (0.3 * x - 0.2 * y) * height), 1)

    resized = resize_flow(motion(*old), *size)
    inner = (..., slice(2, -2), slice(2, -2)) if size != (3, 4) else (..., slice(1, 2), slice(1, 3))
    torch.testing.assert_close(resized[inner], motion(*size)[inner])


def test_resizing_to_the_same_size_changes_nothing() -> None:
    flow = random_flow(4, 5, 2)
    assert torch.equal(resize_flow(flow, 4, 5), flow)


def slow_projection(flow: Tensor) -> dict[tuple[int, int], Tensor]:
    """Return the vector of `flow` `(2, H, W)` that lands on each pixel on which one does."""
    _, height, width = flow.shape
    landed: dict[tuple[int, int], tuple[float, Tensor]] = {}
    for y in range(height):
        for x in range(width):
            vector = flow[:, y, x]
            to = (x + float(vector[0]), y + float(vector[1]))
            pixel = (round(to[0]), round(to[1]))
            distance = math.dist(to, pixel)
            if 0 <= pixel[0] < width and 0 <= pixel[1] < height:
                near = landed.get(pixel)
                if near is None or distance < near[0]:
                    landed[pixel] = (distance, vector)
    return {pixel: vector for pixel, (_, vector) in landed.items()}


@settings(max_examples=30)
@given(sizes, st.integers(0, 99), st.sampled_from([0.4, 2.0, 6.0]))
def test_projected_flow_equals_a_search_for_the_nearest_end_point(
    size: tuple[int, int], seed: int, strength: float
) -> None:
    flow = random_flow(*size, strength, seed, batch=1)
    projected, landed = project_forward(flow)[0], slow_projection(flow[0])
    for y in range(size[0]):
        for x in range(size[1]):
            found = projected[:, y, x]
            if not landed:
                assert not found.any()
                continue
            nearest = min(math.dist((x, y), pixel) for pixel in landed)
            assert any(
                torch.equal(found, vector)
                for pixel, vector in landed.items()
                if math.dist((x, y), pixel) == nearest
            )


def test_a_pan_goes_on_everywhere_also_where_the_frame_is_new_or_an_end_point_is_missing() -> None:
    pan = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 9, 16)
    assert torch.equal(project_forward(pan), pan)
    flow = pan.clone()
    # Ends off the centre of a pixel that another vector meets, and leaves a gap at its own.
    flow[..., 5, 4] = torch.tensor([6.2, 1.0])
    assert torch.equal(project_forward(flow), pan)


def test_each_flow_of_a_batch_is_projected_by_itself() -> None:
    flow = random_flow(7, 8, 3)
    together = project_forward(flow)
    assert torch.equal(together, torch.cat([project_forward(one[None]) for one in flow]))


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_images, torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)),
        (check_images, torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)),
        (check_images, torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2)),
        (check_flow, torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 2, 2)),
        (check_flow, torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.int64)),
        (check_mask, torch.zeros(1, 1, 2, 2, dtype=torch.bool), torch.zeros(1, 1, 2, 2)),
        (check_mask, torch.zeros(1, 1, 2, 2).bool(), torch.zeros(1, 2, 2).bool()),
    ],
)
def test_wrong_shapes_and_types_are_named(
    check: Callable[..., None], good: Tensor, bad: Tensor
) -> None:
    check(good)
    with pytest.raises(ValueError, match="image7 must be"):
        check(bad, "image7")
