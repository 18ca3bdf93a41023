"""The self-supervised objective against a slow twin, and what it must and must not reward."""

import pytest
import torch
from torch import nn

from selfflow.census import census
from selfflow.flow import consistent, pixel_grid, range_map, stays_inside, warp
from selfflow.losses import smoothness
from selfflow.objective import (
    ObjectiveSettings,
    evaluating,
    margins,
    measure,
    student_flow,
    student_mask,
    student_view,
    swap,
    teacher_mask,
    unoccluded,
    weighted_sum,
)
from selfflow.pairs import Pairs

SIZE = (40, 48)


class Scripted:
    """A network whose answers are known beforehand: to the whole frame, then to the student."""

    def __init__(self, teacher, student):
        self.answers = [teacher, student]

    def bidirectional(self, image1, image2, iterations=12):
        return self.answers.pop(0)


def moving(count=2):
    """A smooth texture that moves by (3, -2) pixels, and its flow both ways."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 3, SIZE[0] + 20, SIZE[1] + 20, generator=generator)
    noise = nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    image1 = noise[..., 10 : 10 + SIZE[0], 10 : 10 + SIZE[1]]
    image2 = noise[..., 12 : 12 + SIZE[0], 7 : 7 + SIZE[1]]
    flow = torch.tensor((3.0, -2.0)).view(1, 2, 1, 1).expand(count, 2, *SIZE)
    return Pairs(image1, image2), (flow, -flow)


def scripted(flows, student=None):
    return Scripted(flows, student or tuple(student_flow(flow) for flow in flows))


def random_flow(seed, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 2, *SIZE, generator=generator)


def slow_terms(image1, image2, flow, reverse, teacher, student, settings):
    """One direction of one pair, pixel by pixel, from the definitions."""
    height, width = SIZE
    penalty, warped_back = census(image1, warp(image2, flow)), warp(reverse, flow)
    total = count = 0.0
    for y in range(3, height - 3):
        for x in range(3, width - 3):
            f, b = flow[0, :, y, x], warped_back[0, :, y, x]
            agree = (f + b).square().sum() <= 0.01 * (f @ f + b @ b) + 0.5
            in_frame = 0 <= x + f[0] <= width - 1 and 0 <= y + f[1] <= height - 1
            if agree and in_frame:
                total, count = total + penalty[0, 0, y, x].item(), count + 1
    distance = 0.0
    confidence = []
    for (one, other), sigma in ((teacher, 0.003), (student, 0.03)):
        error = (one + warp(other, one)).square().sum(1, keepdim=True)
        soft = torch.exp(-error / (sigma**2 * (height**2 + width**2)))
        confidence.append(soft * stays_inside(one))
    mask = student_view(confidence[0]) * (1 - confidence[1])
    target = student_flow(teacher[0])
    distance = (mask * ((target - student[0]) ** 2 + 1e-6).sqrt()).mean().item()
    photometric = total / count
    covered = count / ((height - 6) * (width - 6))
    return {
        "photometric": photometric,
        "photometric_charged": covered * photometric + (1 - covered) * settings.uncovered_charge,
        "smoothness": smoothness(image1, flow, settings.smoothness_order).item(),
        "distillation": distance,
        "covered": covered,
    }


@pytest.mark.parametrize("order", [1, 2])
def test_measure_equals_its_slow_twin(order):
    settings = ObjectiveSettings(smoothness_order=order, smoothness=2.0)
    pairs, (flow, _) = moving()
    forward, backward = flow + random_flow(1, 0.4), -flow + random_flow(2, 0.4)
    student = (student_flow(forward) + random_flow(3), student_flow(backward) + random_flow(4))
    result = measure(Scripted((forward, backward), student), pairs, settings)
    for b in range(2):
        one = slice(b, b + 1)
        i1, i2, f, r = pairs.image1[one], pairs.image2[one], forward[one], backward[one]
        s, t = student[0][one], student[1][one]
        there = slow_terms(i1, i2, f, r, (f, r), (s, t), settings)
        back = slow_terms(i2, i1, r, f, (r, f), (t, s), settings)
        expected = {name: (there[name] + back[name]) / 2 for name in there}
        assert 0.1 < expected["covered"] < 0.9
        expected["objective"] = (
            expected["photometric"] + 2.0 * expected["smoothness"] + 0.3 * expected["distillation"]
        )
        assert {k: v[b].item() for k, v in result.items()} == pytest.approx(expected, rel=1e-3)


def test_true_flow_scores_better_than_none_and_than_random_flow():
    pairs, flows = moving()
    none = tuple(torch.zeros_like(f) for f in flows)
    wild = (random_flow(5), random_flow(6))
    scores = [
        measure(scripted(f), pairs, ObjectiveSettings())["objective"] for f in (flows, none, wild)
    ]
    assert (scores[0] < scores[1] - 0.5).all()
    # Random flow hides behind occlusion; charged for it, it scores worse than none.
    charged = ObjectiveSettings(charge_uncovered=True)
    scores = [measure(scripted(f), pairs, charged)["objective"] for f in (flows, none, wild)]
    assert (scores[0] < scores[1]).all()
    assert (scores[1] < scores[2]).all()


def test_flow_that_calls_everything_occluded_is_seen_through_by_the_charge():
    pairs, _ = moving()
    apart = torch.full((2, 2, *SIZE), 4.0)
    result = measure(scripted((apart, apart)), pairs, ObjectiveSettings(uncovered_charge=3.0))
    assert (result["covered"] == 0).all()
    assert (result["photometric"] == 0).all()
    assert (result["photometric_charged"] == 3.0).all()


def test_weighted_sum_uses_the_chosen_photometric_term():
    terms = {
        "photometric": 1.0,
        "photometric_charged": 10.0,
        "smoothness": 2.0,
        "distillation": 3.0,
    }
    terms = {name: torch.tensor([value]) for name, value in terms.items()}
    settings = {"photometric": 2, "smoothness": 3, "distillation": 4}
    assert weighted_sum(terms, ObjectiveSettings(**settings)) == 2 + 6 + 12
    assert weighted_sum(terms, ObjectiveSettings(**settings, charge_uncovered=True)) == 20 + 6 + 12


def test_distillation_can_be_left_out():
    pairs, flows = moving()
    network = Scripted(flows, None)
    result = measure(network, pairs, ObjectiveSettings(distillation=0))
    assert (result["distillation"] == 0).all()
    assert len(network.answers) == 1, "the student was not asked"


def test_occlusion_kinds():
    flow, reverse = random_flow(7), random_flow(8)
    assert torch.equal(unoccluded(flow, reverse, "consistency"), consistent(flow, reverse).float())
    assert torch.equal(unoccluded(flow, reverse, "range_map"), range_map(reverse).clamp(0, 1))
    assert (unoccluded(flow, reverse, "none") == 1).all()
    with pytest.raises(ValueError, match="occlusion"):
        unoccluded(flow, reverse, "guess")


def test_margins_are_smurfs_and_shrink_with_small_frames():
    assert margins(296, 696) == (64, 64)
    assert margins(368, 496) == (64, 64)
    assert margins(148, 296) == (32, 64)


def test_a_students_view_and_flow_are_the_inside_enlarged():
    # A picture of its own coordinates: in the view, pixel centres lie where half-pixel
    # enlargement puts them.
    x, y = pixel_grid(*SIZE)[0]
    top, left = margins(*SIZE)
    view = student_view(torch.stack((x, y, x))[None])[0, 0, 20]
    scale = SIZE[1] / (SIZE[1] - 2 * left)
    middle = torch.arange(8, 40)
    torch.testing.assert_close(view[middle], left + (middle + 0.5) / scale - 0.5)
    flow = torch.ones(1, 2, *SIZE)
    enlarged = student_flow(flow)
    torch.testing.assert_close(enlarged[:, 0], torch.full((1, *SIZE), scale))
    torch.testing.assert_close(
        enlarged[:, 1], torch.full((1, *SIZE), SIZE[0] / (SIZE[0] - 2 * top))
    )


def test_hard_masks_are_the_occlusion_check():
    hard = ObjectiveSettings(distillation_masks="hard")
    flow, reverse = random_flow(9, 0.5), random_flow(10, 0.5)
    seen = (consistent(flow, reverse) & stays_inside(flow)).float()
    assert torch.equal(student_mask(flow, reverse, hard), 1 - seen)
    torch.testing.assert_close(teacher_mask(flow, reverse, hard), student_view(seen))


def slow_view(values, top, left):
    """The inside of one channel, enlarged by reading at half-pixel centres, border repeated."""
    height, width = values.shape
    inside = values[top : height - top, left : width - left]
    rows, columns = inside.shape
    result = torch.zeros_like(values)
    for y in range(height):
        for x in range(width):
            at_y = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            at_x = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = int(at_y), int(at_x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            above = (1 - (at_x - x0)) * inside[y0, x0] + (at_x - x0) * inside[y0, x1]
            below = (1 - (at_x - x0)) * inside[y1, x0] + (at_x - x0) * inside[y1, x1]
            result[y, x] = (1 - (at_y - y0)) * above + (at_y - y0) * below
    return result


def test_views_and_masks_equal_their_slow_twins():
    flow, reverse = random_flow(11).double()[:1], random_flow(12).double()[:1]
    height, width = SIZE
    top, left = margins(height, width)
    for settings in (ObjectiveSettings(), ObjectiveSettings(distillation_masks="hard")):
        masks = []
        for sigma in (0.003, 0.03):
            mask = torch.zeros(SIZE, dtype=torch.float64)
            returned = warp(reverse, flow)
            for y in range(height):
                for x in range(width):
                    f, b = flow[0, :, y, x], returned[0, :, y, x]
                    if not (0 <= x + f[0] <= width - 1 and 0 <= y + f[1] <= height - 1):
                        continue
                    error = ((f + b) ** 2).sum()
                    mask[y, x] = (
                        torch.exp(-error / (sigma**2 * (height**2 + width**2)))
                        if settings.distillation_masks == "soft"
                        else error <= 0.01 * (f @ f + b @ b) + 0.5
                    )
            masks.append(mask)
        found = teacher_mask(flow, reverse, settings)[0, 0]
        torch.testing.assert_close(found, slow_view(masks[0], top, left))
        torch.testing.assert_close(student_mask(flow, reverse, settings)[0, 0], 1 - masks[1])
    scaled = student_flow(flow)[0]
    torch.testing.assert_close(
        scaled[0], slow_view(flow[0, 0], top, left) * width / (width - 2 * left)
    )
    torch.testing.assert_close(
        scaled[1], slow_view(flow[0, 1], top, left) * height / (height - 2 * top)
    )


def test_swap_exchanges_the_directions():
    assert swap(torch.arange(6)).tolist() == [3, 4, 5, 0, 1, 2]


def test_evaluating_restores_every_modules_mode():
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    network[1].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, False]
