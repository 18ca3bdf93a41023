"""What windows say about a flow: against whole frames, and pixel by pixel."""

from dataclasses import replace

import pytest
import torch

from selfflow.census import census
from selfflow.evidence import Evidence, settled
from selfflow.flow import consistent, range_map, warp
from selfflow.losses import inner, masked_mean, smoothness
from selfflow.objective import swap
from selfflow.windows import Windows

MOTION = (4, 2)  # pixels right and down, from frame 1 to frame 2
CROP = (32, 40)


def windows(margin=(16, 24), count=2, seed=0):
    """Windows of a smooth texture that moves by MOTION."""
    height, width = (side + 2 * more for side, more in zip(CROP, margin, strict=True))
    noise = torch.rand(count, 3, height + 8, width + 8, generator=torch.manual_seed(seed))
    noise = torch.nn.functional.avg_pool2d(noise, 3, stride=1)
    around1 = noise[..., MOTION[1] : MOTION[1] + height, MOTION[0] : MOTION[0] + width]
    around2 = noise[..., :height, :width]
    known = torch.ones_like(around1[:, :1], dtype=torch.bool)
    plain = Windows(around1, around2, around1, around2, known, known, margin)
    return replace(plain, seen1=plain.plain1, seen2=plain.plain2)


def true_flow(count=2):
    forward = torch.tensor(MOTION).float().view(1, 2, 1, 1).expand(count, 2, *CROP)
    return torch.cat((forward, -forward))


def noisy(flow, scale=0.3, seed=1):
    return flow + scale * torch.randn(flow.shape, generator=torch.manual_seed(seed))


def test_flow_that_leaves_the_crop_is_judged_by_the_window():
    batch = windows()
    terms = Evidence.of(batch, 1).terms(true_flow(), "consistency")
    # Perfect flow: the least census penalty, everywhere.
    assert terms["photometric"] == pytest.approx(0.01**0.4, abs=1e-3)
    assert terms["covered"] == 1
    without = replace(batch, known1=batch.known1 & False, known2=batch.known2 & False)
    assert Evidence.of(without, 1).terms(true_flow(), "consistency")["covered"] == 0


def test_a_wrong_motion_out_of_the_crop_costs_something():
    batch = windows()
    flow = true_flow()
    flow[:2, 0, :, -3:] += 8  # leaves the crop, stays in the window
    terms = Evidence.of(batch, 1).terms(flow, "consistency")
    assert terms["photometric"] > 0.01**0.4 + 0.05


@pytest.mark.parametrize("order", [1, 2])
def test_each_term_is_the_losses_of_whole_frames_where_there_is_no_margin(order):
    batch = windows(margin=(0, 0))
    flow = noisy(true_flow())
    images, other = torch.cat((batch.plain1, batch.plain2)), torch.cat((batch.plain2, batch.plain1))
    terms = Evidence.of(batch, order).terms(flow, "consistency")
    position_inside = warp(torch.ones_like(images[:, :1]), flow) > 0.999
    mask = inner((consistent(flow, swap(flow)) & position_inside).float(), 3)
    expected = masked_mean(census(images, warp(other, flow)), mask)
    torch.testing.assert_close(terms["photometric"], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(terms["smoothness"], smoothness(images, flow, order).mean())


@pytest.mark.parametrize("occlusion", ["consistency", "range_map", "none"])
def test_what_counts_as_visible_pixel_by_pixel(occlusion):
    batch = windows(margin=(6, 4), count=1)
    known2 = batch.known2.clone()
    known2[..., -5:] = False  # the frame ends inside the window
    flow = noisy(true_flow(1), 2.0)
    visible = Evidence.of(replace(batch, known2=known2), 1).warped(flow, occlusion)[1][:1]
    agree, covered = consistent(flow, swap(flow)), range_map(swap(flow)).clamp(max=1)
    height, width = CROP
    for y in range(height):
        for x in range(width):
            end_x, end_y = x + flow[0, 0, y, x].item(), y + flow[0, 1, y, x].item()
            expected = 1.0
            if 0 <= end_x <= width - 1 and 0 <= end_y <= height - 1:
                if occlusion == "consistency":
                    expected = float(agree[0, 0, y, x])
                elif occlusion == "range_map":
                    expected = covered[0, 0, y, x].item()
            # In the window's pixels; its last five columns are not known.
            column, row = end_x + 4, end_y + 6
            if not (0 <= column <= width + 8 - 6 and 0 <= row <= height + 12 - 1):
                expected = 0.0
            assert visible[0, 0, y, x].item() == pytest.approx(expected, abs=1e-5), (x, y)


def test_the_gradient_is_that_of_the_mean_penalty():
    batch = windows()
    flow = noisy(true_flow()).requires_grad_()
    evidence = Evidence.of(batch, 1)
    evidence.terms(flow, "none")["photometric"].backward()
    ours, flow.grad = flow.grad, None
    around = torch.cat((batch.around2, batch.around1))
    crops = torch.cat((batch.plain1, batch.plain2))
    at = flow + flow.new_tensor((24, 16)).view(1, 2, 1, 1)
    padded = torch.nn.functional.pad(at, (0, 48, 0, 32))  # the window's grid begins at its corner
    warped = warp(around, padded)[..., : CROP[0], : CROP[1]]
    visible = evidence.warped(flow, "none")[1]
    masked_mean(census(crops, warped), inner(visible, 3)).backward()
    torch.testing.assert_close(ours, flow.grad, atol=1e-6, rtol=1e-3)


def test_a_settled_loss_has_the_same_value_and_gradient():
    flow = torch.rand(4, 2, 6, 7, generator=torch.manual_seed(0))

    def loss(flow):
        value = (flow.sin() ** 2).mean()
        return value, {"twice": 2 * value}

    def parameters_to_flow(weight):
        return flow * weight

    results = []
    for settle in (lambda loss, flow: loss(flow), settled):
        weight = torch.tensor(1.3, requires_grad=True)
        value, terms = settle(loss, parameters_to_flow(weight))
        (3 * value).backward()
        results.append((value.item(), terms["twice"].item(), weight.grad.item()))
    assert results[1] == pytest.approx(results[0])
    value, terms = settled(loss, parameters_to_flow(weight))
    assert value.requires_grad
    assert not terms["twice"].requires_grad


def test_nothing_is_differentiated_where_nothing_learns():
    flow = torch.rand(2, 2, 4, 5)
    value, _ = settled(lambda flow: (flow.mean(), {}), flow)
    assert not value.requires_grad
