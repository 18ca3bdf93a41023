import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.contrast import info_nce
from representation.cycle import cycle, cycle_loss
from representation.distortion import MOCO_V2
from representation.method import Frames
from representation.methods.cacl import CACL, RolledPair
from representation.optimizer import peak_rate
from representation.same_place import SamePlaceViews, take_same_place
from selfflow.runs.config import load
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
MakeFrames = Callable[..., Frames]
SMALL = {
    "method": "cacl",
    "frames.batch_size": 4,
    "views.height": 32,
    "views.width": 48,
    "encoder.architecture": "timm/test_resnet",
    "encoder.stride": 8,
    "heads.hidden": 16,
    "heads.out": 8,
    "moco.queue": 10,
    "moco.parts": 1,
}
RECIPE = Path(__file__).parents[2] / "configs" / "pretrain" / "cacl.toml"
HEADS = ("global", "pixel", "cycle")


def small_method(**values: object) -> CACL:
    torch.manual_seed(0)
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    method = CACL(load(CACL.Settings, values=SMALL | dotted), CPU)
    with torch.no_grad():  # else both networks are the same
        for parameter in method.siamese.target.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    for queue in method.queues.values():
        queue.push(torch.randn_like(queue.vectors))
    return method


def only(*names: str) -> dict[str, object]:
    return {f"cacl__{name}_head": name in names for name in HEADS}


def test_the_defaults_are_the_papers():
    settings = load(CACL.Settings, values={"frames.batch_size": 512})
    assert settings.views.distortion == MOCO_V2
    assert settings.views.scale == (0.2, 1.0)
    assert settings.frames.gaps == (8,)
    assert (settings.encoder.architecture, settings.encoder.stride) == ("resnet50", 8)
    assert (settings.heads.hidden, settings.heads.out) == (2048, 128)
    moco = settings.moco
    assert (moco.momentum, moco.temperature, moco.queue, moco.parts) == (0.999, 0.07, 16_384, 16)
    optimizer = settings.optimizer
    assert (optimizer.kind, optimizer.momentum, optimizer.weight_decay) == ("lars", 0.9, 1e-6)
    assert optimizer.trust == 1e-3
    assert peak_rate(settings) == 1.0
    method = small_method()
    assert list(method.queues) == list(HEADS)
    for name in HEADS:
        assert [type(e) for e in method.siamese.online[name]] == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def in_double(method: CACL, batch: RolledPair) -> RolledPair:
    """Return a batch in float64, as the method is afterwards."""
    for module in method.modules.values():
        module.double()
    view1, view2 = (replace(v, images=v.images.double()) for v in (batch.view1, batch.view2))
    return replace(batch, view1=view1, view2=view2)


def test_the_published_recipe_is_the_defaults_for_16_gpus():
    recipe = load(CACL.Settings, file=RECIPE)
    assert recipe.moco == CACL.Settings().moco
    assert recipe.frames.batch_size * recipe.loop.accumulate == 16 * 32
    assert recipe.frames.gaps == (8,)


def cells_of(network: nn.ModuleDict, images: Tensor, shifts: Tensor) -> dict[str, Tensor]:
    """Return the vectors of all heads, `(B, h, w, C)`, by torch's own roll of one image each."""
    pairs = list(zip(images, shifts.tolist(), strict=True))
    rolled = torch.stack([i.roll((-a, -b), (1, 2)) for i, (a, b) in pairs])
    features = network["encoder"](rolled)
    back = [
        f.roll((a // 8, b // 8), (1, 2)) for f, (_, (a, b)) in zip(features, pairs, strict=True)
    ]
    return {name: network[name](torch.stack(back)).permute(0, 2, 3, 1) for name in HEADS}


def slow_contrast(query: Tensor, positive: Tensor, negatives: Tensor, t: float) -> Tensor:
    def similarity(other: Tensor) -> Tensor:
        return (query @ other / (query.norm() * other.norm()) / t).exp()

    own = similarity(positive)
    return -(own / (own + sum(similarity(other) for other in negatives))).log()


def test_the_loss_is_the_papers_in_value_and_gradient(frames_of: MakeFrames):
    """Equations 3 to 6 with matched cells, negatives and the soft cycle, cell by cell."""
    method = small_method(moco__temperature=0.3)
    batch = in_double(method, method.prepare(frames_of(2)))
    queues = {name: queue.vectors.clone() for name, queue in method.queues.items()}
    own = cells_of(method.siamese.online, batch.view1.images, batch.shifts1)
    with torch.no_grad():
        target = copy.deepcopy(method.siamese.target)
        keys = cells_of(target, batch.view2.images, batch.shifts2)
    terms: dict[str, list[Tensor]] = {name: [] for name in HEADS}
    for image in range(2):
        u, p, c = (own[name][image].flatten(0, 1) for name in HEADS)
        u_other, p_other, c_other = (keys[name][image].flatten(0, 1) for name in HEADS)
        terms["global"].append(slow_contrast(u.mean(0), u_other.mean(0), queues["global"], 0.3))
        similar = F.normalize(u.detach(), dim=1) @ F.normalize(u_other, dim=1).T
        for i in range(len(p)):
            match = p_other[similar[i].argmax()]
            terms["pixel"].append(slow_contrast(p[i], match, queues["pixel"], 0.3))
        returns = cycle(c[None], c_other[None], queues["cycle"], 0.3)
        terms["cycle"].append(cycle_loss(returns, (similar / 0.3).softmax(1)[None]).mean())
    expected = {name: torch.stack(each).mean() for name, each in terms.items()}
    found = method.step(batch, 0)
    for name in HEADS:
        torch.testing.assert_close(found[name], expected[name])
    total = expected["global"] + expected["pixel"] + expected["cycle"]
    torch.testing.assert_close(found["loss"], total)
    inputs = [p for group in method.parameter_groups() for p in group["params"]]
    for a, b in zip(
        torch.autograd.grad(found["loss"], inputs), torch.autograd.grad(total, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)
    # The queues got the means of the frames, and the cells that were drawn.
    new = {"global": keys["global"].mean((1, 2))}
    for name in ("pixel", "cycle"):
        cells = keys[name].flatten(1, 2)
        new[name] = torch.stack([cells[i, batch.queued[i, 0]] for i in range(2)])
    for name in HEADS:
        torch.testing.assert_close(method.queues[name].vectors[:2], F.normalize(new[name], dim=1))
        assert torch.equal(method.queues[name].vectors[2:], queues[name][2:])


def test_the_pixel_head_alone_compares_the_same_places(frames_of: MakeFrames):
    method = small_method(**only("pixel"))
    assert list(method.queues) == ["pixel"]
    batch = method.prepare(frames_of())
    own, keys = copy.deepcopy(method)._vectors(batch, 0)
    expected = info_nce(
        own["pixel"].flatten(0, 1),
        keys["pixel"].flatten(0, 1),
        method.queues["pixel"].negatives(),
        0.07,
    ).loss
    terms = method.step(batch, 0)
    torch.testing.assert_close(terms["loss"], expected.mean())
    # So do two heads that are told to.
    beside = small_method(cacl__match="place", cacl__cycle_head=False)
    by_place = beside.step(batch, 0)
    by_affinity = small_method(cacl__cycle_head=False).step(batch, 0)
    assert by_place["global"] == by_affinity["global"]
    assert by_place["pixel"] != by_affinity["pixel"]


def test_each_setting_of_the_cycle_counts(frames_of: MakeFrames):
    batch = small_method().prepare(frames_of())

    def loss(**values: object) -> Tensor:
        return small_method(**values).step(batch, 0)["cycle"]

    hard = loss(cacl__soft_cycle=False)
    assert hard != loss()
    assert hard != loss(cacl__soft_cycle=False, cacl__cycle_negatives=False)
    # Without negatives it is the cycle between the two frames alone.
    method = small_method(cacl__soft_cycle=False, cacl__cycle_negatives=False)
    own, keys = copy.deepcopy(method)._vectors(batch, 0)
    expected = cycle_loss(cycle(own["cycle"], keys["cycle"], None, 0.07)).mean()
    torch.testing.assert_close(method.step(batch, 0)["cycle"], expected)
    # Nobody teaches it without the global head.
    alone = only("cycle")
    assert loss(**alone) == loss(**alone, cacl__soft_cycle=False)


def test_no_gradient_reaches_the_teacher_through_the_soft_cycle(frames_of: MakeFrames):
    method = small_method()
    terms = method.step(method.prepare(frames_of()), 0)
    teacher = list(method.siamese.online["global"].parameters())
    for name in ("pixel", "cycle"):
        gradients = torch.autograd.grad(terms[name], teacher, retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in gradients)


class OnTheTorus(nn.Module):
    """An encoder of stride 8 that commutes with rolling by whole cells."""

    def forward(self, images: Tensor) -> Tensor:
        wrapped = F.pad(images, (3, 3, 3, 3), mode="circular")
        return F.avg_pool2d(wrapped, 9, 8).repeat(1, 100, 1, 1)


@pytest.mark.parametrize("parts", [1, 2])
def test_cells_are_at_their_places_again_after_pixel_shuffle(frames_of: MakeFrames, parts: int):
    method = small_method(moco__parts=parts)
    batch = method.prepare(frames_of())
    assert (batch.shifts1 != 0).any()
    assert not torch.equal(batch.shifts1, batch.shifts2)
    channels = method.encoder.channels
    for network in (method.siamese.online, method.siamese.target):
        network["encoder"] = nn.Sequential(OnTheTorus(), nn.Conv2d(300, channels, 1))
    still = replace(batch, shifts1=0 * batch.shifts1, shifts2=0 * batch.shifts2)
    for found, expected in zip(method._vectors(batch, 0), method._vectors(still, 0), strict=True):
        for name in HEADS:
            torch.testing.assert_close(found[name], expected[name])


def test_without_pixel_shuffle_nothing_is_rolled(frames_of: MakeFrames):
    method = small_method(cacl__pixel_shuffle=False, views__height=36)
    batch = method.prepare(frames_of())
    assert not batch.shifts1.any()
    assert not batch.shifts2.any()
    shuffled = small_method().prepare(frames_of())
    moved = small_method().step(shuffled, 0)["loss"]
    still = replace(shuffled, shifts1=0 * shuffled.shifts1, shifts2=0 * shuffled.shifts2)
    assert small_method().step(still, 0)["loss"] != moved


def test_what_is_drawn_depends_on_the_sample_alone(frames_of: MakeFrames):
    method = small_method(cacl__queued=3)
    whole, part = method.prepare(frames_of(4)), method.prepare(frames_of(2, first=2))
    assert whole.queued.shape == (4, 3)
    assert 0 <= whole.queued.min() <= whole.queued.max() < 4 * 6
    for name in ("shifts1", "shifts2", "queued"):
        assert torch.equal(getattr(whole, name)[2:], getattr(part, name))
    method.step(whole, 0)
    assert method.queues["pixel"].place == 2  # 12 cells in a ring of 10
    assert method.queues["global"].place == 4


def test_views_show_the_same_place_in_colours_of_their_own(frames_of: MakeFrames):
    frames = frames_of()
    settings = SamePlaceViews(height=32, width=48)
    view1, view2 = take_same_place(frames, settings)
    assert torch.equal(view1.to_frame, view2.to_frame)
    assert not torch.equal(view1.images, view2.images)
    same = Frames(frames.image1, frames.image1, frames.keys, frames.sizes)
    again1, again2 = take_same_place(same, settings)
    assert torch.equal(again1.images, view1.images)
    assert not torch.equal(again1.images, again2.images)
    still = settings.model_copy(update={"video": False})
    assert torch.equal(take_same_place(frames, still)[1].images, again2.images)
    assert not small_method(views__video=False).uses_pairs
    assert small_method().uses_pairs


def test_keys_are_normalised_among_other_images_than_queries(frames_of: MakeFrames):
    method = small_method(moco__parts=2)
    images = method.prepare(frames_of()).view2.images
    neighbours = []
    keys = method._keys(images, 1)
    for changed in range(4):
        other = images.clone()
        other[changed] = 1 - other[changed]
        moved = (method._keys(other, 1) - keys).abs().flatten(1).amax(1) > 1e-5
        neighbours.append(moved.nonzero()[:, 0].tolist())
    assert all(len(found) == 2 and i in found for i, found in enumerate(neighbours))
    assert not torch.equal(method._keys(images, 0), method._keys(images, 3))


def test_pictures_show_what_is_matched(frames_of: MakeFrames):
    method = small_method()
    batch = method.prepare(frames_of())
    method.step(batch, 0)
    picture = method.pictures()["views"]
    assert picture.shape == (3, 32, 3 * 48)
    assert torch.equal(picture[:, :, :48], batch.view1.images[0])
    assert torch.equal(picture[:, :, 48:96], batch.view2.images[0])
    # Where every cell is matched with cell (2, 1), whose centre is pixel (16, 8).
    method.latest = batch, torch.full((4, 24), 2 * 6 + 1)
    matched = method.pictures()["views"][:, :, 96:]
    expected = batch.view2.images[0, :, 16, 8].view(3, 1, 1).expand_as(matched)
    torch.testing.assert_close(matched, expected)
    method.latest = batch, None
    assert method.pictures()["views"].shape == (3, 32, 2 * 48)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (only(), "at least one of its heads"),
        ({"views__height": 36}, "multiples of 8"),
        ({"moco__parts": 3}, r"moco\.parts"),
    ],
)
def test_what_cannot_be_is_said(values: dict[str, object], said: str):
    with pytest.raises(UserError, match=said):
        small_method(**values)
