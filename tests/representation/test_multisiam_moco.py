import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.alignment import align_common_part, upright
from representation.correspondence import View
from representation.distortion import MOCO_V2
from representation.kmeans import kmeans
from representation.method import Frames
from representation.methods.multisiam_moco import MultiSiamMoCo
from representation.optimizer import peak_rate
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
Views = tuple[View, View]
SMALL = {
    "method": "multisiam-moco",
    "frames.batch_size": 4,
    "views.height": 32,
    "views.width": 48,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 16,
    "heads.hidden": 16,
    "heads.out": 8,
    "moco.queue": 10,
    "moco.parts": 1,
}


def small_method(**values: object) -> MultiSiamMoCo:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    method = MultiSiamMoCo(load(MultiSiamMoCo.Settings, values=SMALL | dotted), CPU)
    for queue in method.queues.values():
        queue.push(torch.randn_like(queue.vectors))
    return method


def test_the_defaults_are_the_papers_and_moco_v2s():
    settings = load(MultiSiamMoCo.Settings, values={"frames.batch_size": 256})
    own, moco = settings.multisiam, settings.moco
    assert (own.image_weight, own.clusters, own.metric, own.alignment) == (0.5, 3, "cosine", "roi")
    assert (own.attention, own.clustering) == (True, "centroids")
    assert (moco.temperature, moco.momentum, moco.queue, moco.parts) == (0.2, 0.999, 65_536, 8)
    assert (settings.views.first, settings.views.second) == (MOCO_V2, MOCO_V2)
    assert (settings.views.scale, settings.views.iou) == ((0.2, 1.0), 0.5)
    assert (settings.optimizer.kind, settings.optimizer.weight_decay) == ("sgd", 1e-4)
    assert peak_rate(settings) == pytest.approx(0.03)
    for head in ("image", "cells"):
        kinds = [type(layer) for layer in small_method().siamese.online[head]]
        assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def in_float64(method: MultiSiamMoCo, batch: Views) -> Views:
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


def slow_loss(method: MultiSiamMoCo, batch: Views) -> Tensor:
    """Equations 16 to 21, one image and one cell at a time, with the -log that 21 lacks."""
    own = method.settings.multisiam
    online, target = method.siamese.online, copy.deepcopy(method.siamese.target)
    queues = {name: queue.vectors.clone() for name, queue in method.queues.items()}

    def contrast(query: Tensor, positive: Tensor, queue: Tensor) -> Tensor:
        query, positive = query / query.norm(), positive / positive.norm()
        right = (query @ positive / 0.2).exp()
        wrong = torch.stack([(query @ n / n.norm() / 0.2).exp() for n in queue]).sum()
        return -(right / (right + wrong)).log()

    def whole(network: nn.ModuleDict, features: Tensor) -> Tensor:
        return network["image"](features.mean((2, 3))[..., None, None])[..., 0, 0]

    features = online["encoder"](batch[0].images)
    others = target["encoder"](batch[1].images).detach()
    queries, keys = whole(online, features), whole(target, others).detach()
    count = len(queries)
    total = torch.zeros((), dtype=torch.float64)
    for query, one in zip(queries, keys, strict=True):
        total = total + own.image_weight * contrast(query, one, queues["image"]) / count
    if own.alignment == "roi":
        r, s = align_common_part(*batch, features, others, method.encoder)
    else:
        r, s = upright(features, batch[0]), upright(others, batch[1])
    g, positives = online["cells"](r), target["cells"](s).detach()
    cells = list(itertools.product(range(r.shape[2]), range(r.shape[3])))
    clusters = kmeans(positives.flatten(2).transpose(1, 2), own.clusters, metric=own.metric)
    for b in range(count):
        for number, (i, j) in enumerate(cells):
            query = g[b, :, i, j]
            if own.attention:
                query = torch.zeros_like(query)
                for k, m in cells:
                    similarity = F.cosine_similarity(r[b, :, i, j], r[b, :, k, m], dim=0)
                    query = query + similarity.clamp_min(0) ** 2 * g[b, :, k, m]
            positive = positives[b, :, i, j]
            if own.clustering == "centroids":
                positive = clusters.centroids[b, clusters.labels[b, number]]
            loss = contrast(query, positive, queues["cells"])
            total = total + (1 - own.image_weight) * loss / count / len(cells)
    return total


VARIANTS: list[dict[str, object]] = [
    {},
    {"alignment": "none", "attention": False, "image_weight": 0.3},
    {"clustering": "none"},
    {"metric": "euclidean", "clusters": 2},
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
    inputs = list(method.siamese.online.parameters())
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_each_queue_gets_one_vector_an_image_of_its_own_head(frames_of: MakeFrames):
    method = small_method(moco__queue=20)
    batch = method.prepare(frames_of())
    before = {name: queue.vectors.clone() for name, queue in method.queues.items()}
    target = copy.deepcopy(method.siamese.target)
    method.step(batch, 0)
    with torch.no_grad():
        others = target["encoder"](batch[1].images)
        _, aligned = align_common_part(*batch, others, others, method.encoder)
        expected = {
            "image": target["image"](others.mean((2, 3), keepdim=True))[..., 0, 0],
            "cells": target["cells"](aligned).mean((2, 3)),
        }
    for name, queue in method.queues.items():
        torch.testing.assert_close(queue.vectors[:4], F.normalize(expected[name], dim=1))
        assert torch.equal(queue.vectors[4:], before[name][4:])


@pytest.mark.parametrize("name", ["image", "cells"])
def test_each_queue_decides_its_own_term(frames_of: MakeFrames, name: str):
    method, changed = small_method(), small_method()
    batch = method.prepare(frames_of())
    with torch.no_grad():
        changed.queues[name].vectors.copy_(changed.queues[name].vectors.roll(1, 1))
    one, other = method.step(batch, 0), changed.step(batch, 0)
    assert {term for term in ("image", "cells") if one[term] != other[term]} == {name}


def test_queues_are_in_checkpoints():
    method = small_method()
    saved = {name: module.state_dict() for name, module in method.modules.items()}
    held = [state["vectors"] for state in saved.values() if "vectors" in state]
    assert len(held) == 2
    assert all(any(torch.equal(h, q.vectors) for h in held) for q in method.queues.values())


@pytest.mark.parametrize("head", ["image", "cells"])
def test_each_head_of_the_target_decides_its_own_term(frames_of: MakeFrames, head: str):
    method, changed = small_method(), small_method()
    batch = method.prepare(frames_of())
    with torch.no_grad():
        for parameter in changed.siamese.target[head].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    one, other = method.step(batch, 0), changed.step(batch, 0)
    assert {name for name in ("image", "cells") if one[name] != other[name]} == {head}


def test_keys_are_normalised_among_other_images_than_queries(frames_of: MakeFrames):
    method = small_method(frames__batch_size=8, moco__parts=4)
    images = method.prepare(frames_of(8))[1].images
    keys = method._target_features(images, 1)
    with torch.no_grad():
        queries = copy.deepcopy(method.siamese.online["encoder"])(images)
    # The networks are the same, so only the neighbours make the difference.
    assert not torch.allclose(keys, queries, atol=1e-4)
    assert torch.equal(keys, method._target_features(images, 1))
    assert not torch.equal(keys, method._target_features(images, 2))


def test_the_target_follows_with_a_fixed_momentum():
    method = small_method(moco__momentum=0.9)
    with torch.no_grad():
        for parameter in method.siamese.online.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.siamese.target.parameters()]
    method.after_step(900)
    target, online = method.siamese.target.parameters(), method.siamese.online.parameters()
    for old, slow, fast in zip(before, target, online, strict=True):
        torch.testing.assert_close(slow, 0.9 * old + 0.1 * fast)


def test_views_with_too_few_cells_are_an_error():
    with pytest.raises(UserError, match=r"multisiam\.clusters = 7.* 2 x 3 cells"):
        small_method(multisiam__clusters=7)
    small_method(multisiam__clusters=7, multisiam__clustering="none")


@pytest.mark.parametrize(
    "setting", ["multisiam.alignment=offset", "multisiam.clustering=dense", "multisiam.residual=1"]
)
def test_what_has_no_form_in_mocos_frame_is_an_error(setting: str):
    with pytest.raises(UserError, match=r"multisiam\."):
        load(MultiSiamMoCo.Settings, overrides=[setting])


def test_pictures_show_the_views(frames_of: MakeFrames):
    method = small_method()
    assert method.pictures() == {}
    batch = method.prepare(frames_of())
    method.step(batch, 0)
    assert torch.equal(method.pictures()["views"][:, :, :48], batch[0].images[0])
