"""Losses against slow twins in float64 (value and gradient) and cases done by hand."""

import math
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from selfflow.losses import (
    confidence,
    distillation,
    inner,
    masked_mean,
    masked_mean_each,
    robust_l1,
    sequence_loss,
    smoothness,
)


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def agree(fast, slow, *inputs):
    """Compare two functions in value and in the gradient of a random weighting of the result."""
    results = []
    for function in (fast, slow):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        (value * random(*value.shape, seed=9)).sum().backward()
        results.append((value.detach(), [leaf.grad for leaf in leaves]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs)


def slow_smoothness(image, flow, order):
    batch, _, height, width = flow.shape
    results = []
    for b in range(batch):
        means = []
        for dy, dx in ((0, 1), (1, 0)):
            terms = []
            for y in range(height - order * dy):
                for x in range(width - order * dx):
                    end = (y + order * dy, x + order * dx)
                    edge = (image[b, :, end[0], end[1]] - image[b, :, y, x]) * 150
                    bend = flow[b, :, end[0], end[1]] - flow[b, :, y, x]
                    if order == 2:
                        middle = flow[b, :, y + dy, x + dx]
                        bend = flow[b, :, end[0], end[1]] - 2 * middle + flow[b, :, y, x]
                    weight = torch.exp(-edge.abs().mean())
                    terms.append(weight * ((bend**2 + 1e-6) ** 0.5).mean())
            means.append(torch.stack(terms).mean())
        results.append((means[0] + means[1]) / 2)
    return torch.stack(results)


@pytest.mark.parametrize("order", [1, 2])
def test_smoothness_equals_its_slow_twin(order):
    image, flow = 0.5 + 0.01 * random(2, 3, 5, 7), 4 * random(2, 2, 5, 7, seed=1)
    agree(
        lambda flow: smoothness(image, flow, order),
        lambda flow: slow_smoothness(image, flow, order),
        flow,
    )


def test_smoothness_by_hand():
    # On a grey image a ramp of 1 px per pixel along x costs (1 + 0.001) / 2 / 2: one of two
    # components, one of two directions; of the second order it costs only epsilon.
    flow = torch.zeros(1, 2, 8, 8).double()
    flow[:, 0] = torch.arange(8.0)
    image = torch.full((1, 3, 8, 8), 0.5).double()
    expected = ((1 + 1e-6) ** 0.5 + 3 * 1e-3) / 4
    torch.testing.assert_close(smoothness(image, flow, 1), torch.tensor([expected]).double())
    torch.testing.assert_close(smoothness(image, flow, 2), torch.tensor([1e-3]).double())


def test_an_image_edge_frees_the_flow_to_jump_there():
    flow = torch.zeros(1, 2, 8, 8)
    flow[..., 4:] = 5
    image = torch.zeros(1, 3, 8, 8)
    edge = image.clone()
    edge[..., 4:] = 0.5
    assert smoothness(edge, flow)[0] < 0.01 < 0.1 < smoothness(image, flow)[0]


def test_smoothness_refuses_other_orders():
    with pytest.raises(ValueError, match="order"):
        smoothness(random(1, 3, 8, 8), random(1, 2, 8, 8), 3)


def test_robust_l1_by_hand():
    torch.testing.assert_close(robust_l1(torch.tensor([0.0, 3.0])), torch.tensor([1e-3, 3.0]))


def test_confidence_by_hand():
    # A round trip that misses by 2 px, on a frame of 30x40: exp(-4 / (0.03² · 2500)).
    forward, backward = torch.zeros(1, 2, 30, 40), torch.zeros(1, 2, 30, 40)
    forward[:, 0], backward[:, 0] = 3.0, -1.0
    agreement = confidence(forward, backward, 0.03)
    torch.testing.assert_close(agreement[..., 5], torch.full((1, 1, 30), math.exp(-4 / 2.25)))
    assert (agreement[..., 37:] == 0).all()
    assert (agreement[..., :37] > 0).all()


def slow_read(values, b, x, y):
    """All channels of `values` at a sub-pixel position; zero outside, corner by corner."""
    height, width = values.shape[-2:]
    x0, y0 = int(x.floor()), int(y.floor())
    total = values.new_zeros(values.shape[1])
    for column, weight_x in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
        for row, weight_y in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
            if 0 <= column < width and 0 <= row < height:
                total = total + weight_x * weight_y * values[b, :, row, column]
    return total


def slow_confidence(forward, backward, sigma):
    batch, _, height, width = forward.shape
    rows = []
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                to_x, to_y = x + forward[b, 0, y, x], y + forward[b, 1, y, x]
                round_trip = forward[b, :, y, x] + slow_read(backward, b, to_x, to_y)
                scale = sigma**2 * (height**2 + width**2)
                agreement = torch.exp(-(round_trip**2).sum() / scale)
                inside = 0 <= to_x <= width - 1 and 0 <= to_y <= height - 1
                rows.append(agreement if inside else agreement * 0)
    return torch.stack(rows).view(batch, 1, height, width)


def test_confidence_equals_its_slow_twin():
    flows = (3 * random(2, 2, 5, 6, seed=s) - 1.5 for s in (1, 2))
    agree(lambda f, b: confidence(f, b, 0.2), lambda f, b: slow_confidence(f, b, 0.2), *flows)


def slow_distillation(teacher, student, mask):
    batch, _, height, width = student.shape
    rows = []
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                distances = [
                    ((teacher[b, c, y, x] - student[b, c, y, x]) ** 2 + 1e-6) ** 0.5 for c in (0, 1)
                ]
                rows.append(mask[b, 0, y, x] * (distances[0] + distances[1]) / 2)
    return torch.stack(rows).view(batch, 1, height, width)


def test_distillation_equals_its_slow_twin():
    teacher, mask = random(2, 2, 4, 5), random(2, 1, 4, 5, seed=1)
    agree(
        lambda student: distillation(teacher, student, mask),
        lambda student: slow_distillation(teacher, student, mask),
        random(2, 2, 4, 5, seed=2),
    )


def test_distillation_by_hand_and_only_the_student_learns():
    teacher = torch.zeros(1, 2, 4, 4, requires_grad=True)
    student = torch.full((1, 2, 4, 4), 2.0, requires_grad=True)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0] = 0.5
    loss = distillation(teacher, student, mask)
    torch.testing.assert_close(loss[..., 0], torch.full((1, 1, 4), 1.0), atol=1e-5, rtol=0)
    assert (loss[..., 1:] == 0).all()
    loss.mean().backward()
    assert teacher.grad is None
    # d/ds of 0.5 · mean over channels of |s|, by 16 pixels.
    torch.testing.assert_close(student.grad[0, 0, :, 0], torch.full((4,), 0.5 / 2 / 16))


def slow_sequence_loss(predictions, flow, valid, gamma, max_flow, robust):
    loss = flow.new_zeros(())
    for i, prediction in enumerate(predictions):
        terms = []
        for b, _, y, x in valid.nonzero():
            if (flow[b, :, y, x] ** 2).sum() ** 0.5 >= max_flow:
                continue
            for c in range(2):
                distance = (prediction[b, c, y, x] - flow[b, c, y, x]).abs()
                terms.append((distance + 0.01) ** 0.4 if robust else distance)
        loss = loss + gamma ** (len(predictions) - 1 - i) * torch.stack(terms).mean()
    return loss


@pytest.mark.parametrize("robust", [False, True])
def test_sequence_loss_equals_its_slow_twin(robust):
    flow = 10 * random(2, 2, 4, 5)
    valid = random(2, 1, 4, 5, seed=1) > 0.4
    settings = {"gamma": 0.7, "max_flow": 9.0, "robust": robust}
    agree(
        lambda *predictions: sequence_loss(predictions, flow, valid, **settings),
        lambda *predictions: slow_sequence_loss(predictions, flow, valid, **settings),
        *(10 * random(2, 2, 4, 5, seed=s) for s in (2, 3, 4)),
    )


def test_unknown_flow_may_be_anything():
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, :, 0] = float("nan")
    valid = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    valid[:, :, 0] = False
    prediction = torch.ones(1, 2, 4, 4, requires_grad=True)
    loss = sequence_loss([prediction], flow, valid)
    loss.backward()
    assert loss == 1
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[:, :, 0] == 0).all()


def test_masked_means():
    values = torch.tensor([[1.0, 2.0], [3.0, 10.0]]).view(2, 1, 1, 2)
    mask = torch.tensor([[1.0, 1.0], [0.5, 0.0]]).view(2, 1, 1, 2)
    assert masked_mean(values, mask) == (1 + 2 + 1.5) / 2.5
    assert masked_mean_each(values, mask).tolist() == [1.5, 3.0]
    assert masked_mean(values, torch.zeros(2, 1, 1, 2).bool()) == 0


def slow_masked_means(values, mask):
    """The mean of each sample, and that of all."""
    totals, counts = [], []
    for b in range(len(values)):
        total, count = values.new_zeros(()), values.new_zeros(())
        for c in range(values.shape[1]):
            for y in range(values.shape[2]):
                for x in range(values.shape[3]):
                    total = total + mask[b, 0, y, x] * values[b, c, y, x]
                    count = count + mask[b, 0, y, x]
        totals.append(total)
        counts.append(count)
    each = [total / count for total, count in zip(totals, counts, strict=True)]
    return torch.stack(each), sum(totals) / sum(counts)


def test_masked_means_equal_their_slow_twins():
    values, mask = random(3, 2, 4, 5), random(3, 1, 4, 5, seed=1)
    for fast, place in ((masked_mean_each, 0), (masked_mean, 1)):
        agree(
            lambda values, fast=fast: fast(values, mask),
            lambda values, place=place: slow_masked_means(values, mask)[place],
            values,
        )


def test_a_masked_mean_weighs_channels_alike():
    values = random(1, 2, 3, 3)
    torch.testing.assert_close(masked_mean(values, torch.ones(1, 1, 3, 3).bool()), values.mean())


def test_no_gradient_passes_through_a_mask():
    mask = random(1, 1, 3, 3).requires_grad_()
    values = random(1, 1, 3, 3).requires_grad_()
    (masked_mean(values, mask) + masked_mean_each(values, mask).sum()).backward()
    assert mask.grad is None


def test_inner_keeps_all_but_the_border():
    kept = inner(torch.ones(1, 1, 8, 9), 3)
    assert kept.sum() == 2 * 3
    assert (kept[..., 3:5, 3:6] == 1).all()


def mean_of_one_process(rank, path):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    values, mask = random(2, 1, 3, 3), random(2, 1, 3, 3, seed=1)
    leaf = values[rank : rank + 1].clone().requires_grad_()
    loss = masked_mean(leaf, mask[rank : rank + 1])
    loss.backward()
    whole = values.clone().requires_grad_()
    numerator = (whole * mask).sum() / mask.sum()
    numerator.backward()
    torch.testing.assert_close(loss, numerator)
    # DDP divides the sum of both processes' gradients by two.
    torch.testing.assert_close(leaf.grad / 2, whole.grad[rank : rank + 1])
    dist.destroy_process_group()


@pytest.mark.slow
def test_masked_mean_over_two_processes_is_that_over_all(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path / "meeting")])
        for rank in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]


if __name__ == "__main__":
    mean_of_one_process(int(sys.argv[1]), sys.argv[2])
