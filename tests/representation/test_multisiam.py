import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.alignment import offset_map, roi_align
from representation.correspondence import View
from representation.kmeans import kmeans
from representation.method import Frames
from representation.methods.multisiam import MultiSiam
from representation.optimizer import learning_rate, peak_rate
from representation.overlap import common_part, intersection_over_union
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
Views = tuple[View, View]
SMALL = {
    "method": "multisiam",
    "views.height": 32,
    "views.width": 48,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 16,
    "heads.hidden": 16,
    "heads.out": 8,
    "loop.steps": 100,
}


def small_method(**values: object) -> MultiSiam:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return MultiSiam(load(MultiSiam.Settings, values=SMALL | dotted), CPU)


def test_the_defaults_are_the_papers():
    settings = MultiSiam.Settings()
    own = settings.multisiam
    assert (own.momentum, own.image_weight, own.clusters, own.metric) == (0.996, 0.5, 3, "cosine")
    assert (own.alignment, own.attention, own.clustering) == ("offset", "plain", "centroids")
    assert settings.views.iou == 0.5
    assert (settings.heads.hidden, settings.heads.out) == (4096, 256)
    assert (settings.encoder.architecture, settings.encoder.stride) == ("resnet50", 32)
    assert (settings.optimizer.kind, settings.optimizer.weight_decay) == ("lars", 1e-5)
    large = load(MultiSiam.Settings, values={"frames.batch_size": 1024, "optimizer.warmup": 10})
    assert peak_rate(large) == pytest.approx(1.0 * 1024 / 256)
    assert learning_rate(large, 4) == pytest.approx(peak_rate(large) / 2)


def in_float64(method: MultiSiam, batch: Views) -> Views:
    """Return the batch in float64; make the method so, and its target another than the online."""
    with torch.no_grad():
        for parameter in method.siamese.target.parameters():
            parameter.mul_(1.1)
    for module in method.modules.values():
        module.double()
    first, second = (
        View(v.images.double(), v.to_frame.double(), v.low.double(), v.high.double()) for v in batch
    )
    return first, second


def slow_loss(method: MultiSiam, batch: Views) -> Tensor:
    """Equations 3 to 11, one image and one cell at a time, with 2 - 2 cos for -cos."""
    own, encoder = method.settings.multisiam, method.encoder
    online, target = method.siamese.online, copy.deepcopy(method.siamese.target)
    total = torch.zeros((), dtype=torch.float64)

    def squared(one: Tensor, other: Tensor) -> Tensor:
        return (one / one.norm() - other / other.norm()).square().sum()

    def flipped_back(maps: Tensor, view: View) -> Tensor:
        return torch.stack(
            [m.flip(2) if s < 0 else m for m, s in zip(maps, view.to_frame[:, 0, 0], strict=True)]
        )

    for view, other in (batch, batch[::-1]):
        features, others = online["encoder"](view.images), target["encoder"](other.images)
        whole = method.predictor["image"](online["image"](features.mean((2, 3))[..., None, None]))
        wanted = target["image"](others.mean((2, 3))[..., None, None]).detach()
        count = len(whole)
        for b in range(count):
            total = total + own.image_weight * squared(whole[b], wanted[b]) / count
        projected, targets = online["cells"](features), target["cells"](others).detach()
        if own.alignment == "roi":
            low, high = common_part(view, other)
            projected = roi_align(projected, view, low, high, stride=encoder.stride)
            targets = roi_align(targets, other, low, high, stride=encoder.stride)
        else:
            projected = flipped_back(projected, view)
            targets = flipped_back(targets, other)
        r = projected
        if own.alignment.startswith("offset"):
            told = offset_map(view, other, encoder, normalised=own.alignment == "offset")
            r = torch.cat((projected, told), 1)
        q = method.predictor["cells"](r)
        cells = list(itertools.product(range(r.shape[2]), range(r.shape[3])))
        clusters = kmeans(targets.flatten(2).transpose(1, 2), own.clusters, metric=own.metric)
        for b in range(count):
            for number, (i, j) in enumerate(cells):
                predicted = q[b, :, i, j]
                if own.attention != "none":
                    predicted = torch.zeros_like(predicted)
                    for k, m in cells:
                        similarity = F.cosine_similarity(r[b, :, i, j], r[b, :, k, m], dim=0)
                        predicted = predicted + similarity.clamp_min(0) ** 2 * q[b, :, k, m]
                if own.attention == "residual":
                    predicted = predicted + projected[b, :, i, j]
                label = clusters.labels[b, number]
                members = [
                    targets[b, :, k, m]
                    for n, (k, m) in enumerate(cells)
                    if clusters.labels[b, n] == label
                ]
                if own.clustering == "none":
                    loss = squared(predicted, targets[b, :, i, j])
                elif own.clustering == "dense":
                    loss = torch.stack([squared(predicted, each) for each in members]).mean()
                else:
                    loss = squared(predicted, clusters.centroids[b, label])
                total = total + (1 - own.image_weight) * loss / count / len(cells)
    return total


VARIANTS: list[dict[str, object]] = [
    {},
    {"alignment": "roi", "attention": "residual"},
    {"alignment": "none", "attention": "none", "metric": "euclidean"},
    {"alignment": "offset-pixels", "clustering": "dense", "image_weight": 0.3},
    {"attention": "residual", "clustering": "none", "clusters": 4},
]


@pytest.mark.parametrize("values", VARIANTS)
def test_the_loss_is_the_papers_in_value_and_gradient(
    frames_of: MakeFrames, values: dict[str, object]
):
    method = small_method(**{f"multisiam__{name}": value for name, value in values.items()})
    batch = in_float64(method, method.prepare(frames_of(3)))
    assert any((view.to_frame[:, 0, 0] < 0).any() for view in batch)
    expected = slow_loss(method, batch)
    found = method.step(batch, 0)["loss"]
    torch.testing.assert_close(found, expected)
    inputs = [*method.siamese.online.parameters(), *method.predictor.parameters()]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_every_setting_changes_the_loss(frames_of: MakeFrames):
    values: list[dict[str, object]] = [
        {},
        {"multisiam__alignment": "roi"},
        {"multisiam__alignment": "none"},
        {"multisiam__alignment": "offset-pixels"},
        {"multisiam__attention": "none"},
        {"multisiam__attention": "residual"},
        {"multisiam__clustering": "dense"},
        {"multisiam__clustering": "none"},
        {"multisiam__clusters": 2},
        {"multisiam__metric": "euclidean"},
        {"multisiam__image_weight": 0.4},
    ]
    losses = []
    for each in values:
        method = small_method(**each)
        # The clusters of one metric are those of the other unless cells differ in length.
        with torch.no_grad():
            method.siamese.target["cells"][3].weight[:4].mul_(5)
        losses.append(method.step(method.prepare(frames_of(4)), 0)["loss"].item())
    assert len(set(losses)) == len(losses)


def test_the_image_level_term_alone_and_the_cells_alone(frames_of: MakeFrames):
    for weight, name in ((1.0, "image"), (0.0, "cells")):
        method = small_method(multisiam__image_weight=weight)
        terms = method.step(method.prepare(frames_of(3)), 0)
        torch.testing.assert_close(terms["loss"], terms[name])
        assert terms["image"] != terms["cells"]


def test_views_overlap_as_asked(frames_of: MakeFrames):
    for iou in (0.5, 0.8):
        first, second = small_method(views__iou=iou).prepare(frames_of(12))
        boxes = [torch.cat((view.low, view.high - view.low), 1) for view in (first, second)]
        found = intersection_over_union(*boxes)
        assert (found > iou).all()
        assert found.min() < iou + 0.15


def test_valid_is_the_share_that_both_views_show(frames_of: MakeFrames):
    method = small_method()
    batch = method.prepare(frames_of(6))
    low, high = common_part(*batch)
    areas = [(view.high - view.low).prod(1) for view in batch]
    expected = torch.cat([(high - low).prod(1) / area for area in areas]).mean()
    torch.testing.assert_close(method.step(batch, 0)["valid"], expected)
    assert 0.5 < expected < 1


@pytest.mark.parametrize("head", ["image", "cells"])
def test_each_head_of_the_target_decides_its_own_term(frames_of: MakeFrames, head: str):
    method, changed = small_method(), small_method()
    batch = method.prepare(frames_of())
    with torch.no_grad():
        for parameter in changed.siamese.target[head].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    one, other = method.step(batch, 0), changed.step(batch, 0)
    assert {name for name in ("image", "cells") if one[name] != other[name]} == {head}


def test_the_target_follows_after_the_step():
    method = small_method(multisiam__momentum=0.9)
    with torch.no_grad():
        for parameter in method.siamese.online.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.siamese.target.parameters()]
    method.after_step(50)
    target, online = method.siamese.target.parameters(), method.siamese.online.parameters()
    for old, slow, fast in zip(before, target, online, strict=True):
        torch.testing.assert_close(slow, 0.95 * old + 0.05 * fast)


def test_a_predictor_without_offsets_has_no_channels_for_them():
    def channels(alignment: str) -> int:
        first = small_method(multisiam__alignment=alignment).predictor["cells"][0]
        assert isinstance(first, nn.Conv2d)
        return first.in_channels

    assert [channels(each) for each in ("none", "roi", "offset", "offset-pixels")] == [8, 8, 10, 10]


def test_views_with_too_few_cells_are_an_error():
    with pytest.raises(UserError, match=r"multisiam\.clusters = 7.* 2 x 3 cells"):
        small_method(multisiam__clusters=7)
    small_method(multisiam__clusters=7, multisiam__clustering="none")
    with pytest.raises(UserError, match=r"multisiam\.alignment"):
        small_method(views__height=16)


def test_pictures_show_the_views(frames_of: MakeFrames):
    method = small_method()
    assert method.pictures() == {}
    batch = method.prepare(frames_of())
    method.step(batch, 0)
    picture = method.pictures()["views"]
    assert picture.shape == (3, 32, 3 * 48)
    assert torch.equal(picture[:, :, :48], batch[0].images[0])
