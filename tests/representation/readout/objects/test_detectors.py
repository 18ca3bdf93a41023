"""Detectors are torchvision's, on our encoders; what is frozen stays as it is."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from representation.models import build
from representation.norm import SyncBatchNorm2d
from representation.readout.objects.detectors import (
    Detector,
    encoder_stride,
    new_detector,
    trained,
)
from representation.readout.objects.settings import DetectorSettings
from representation.readout.objects.trunks import norms
from selfflow.runs.errors import UserError

Make = Callable[..., DetectorSettings]
Noise = Callable[..., list[Tensor]]
LEVELS = (8, 16, 32, 64, 128)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def a_target(wanted: str = "boxes", count: int = 1) -> dict[str, Tensor]:
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0]])[:count]
    target = {"boxes": boxes, "labels": torch.zeros(count, dtype=torch.int64)}
    if wanted == "masks":
        target["masks"] = torch.ones(count, 64, 64, dtype=torch.uint8)
    if wanted == "keypoints":
        target["keypoints"] = torch.tensor([[[10.0, 10, 2], [30, 40, 1]]])[:count]
    return target


def step(detector: Detector, images: list[Tensor], target: dict[str, Tensor]) -> None:
    optimizer = torch.optim.SGD([p for ps in trained(detector) for p in ps], 0.001)
    losses = detector.losses(images, [target] * len(images))
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()


def test_c4_is_torchvisions_resnet_put_together_by_hand(small_detector: Make, noise: Noise) -> None:
    """RPN on layer3, layer4 on its regions: the same boxes, scores and losses."""
    encoder = build("resnet18", 32)
    for norm in norms([encoder]):  # statistics that are not those of a new network
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    resnet = torchvision.models.resnet18(weights=None)
    resnet.load_state_dict(encoder.state_dict(), strict=False)
    settings = small_detector(kind="c4", frozen=True, anchors=(16, 32), score=0.0, test_proposals=8)
    detector = new_detector(encoder, settings, 2, "boxes")

    trunk = nn.Sequential(
        *(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool),
        *(resnet.layer1, resnet.layer2, resnet.layer3),
    )
    trunk.out_channels = 256
    head = nn.Sequential(resnet.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    twin = FasterRCNN(
        trunk,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        box_head=head,
        box_predictor=FastRCNNPredictor(512, 3),
        min_size=64,
        max_size=64,
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_test=8,
        box_score_thresh=0.0,
    )
    twin.rpn.head.load_state_dict(detector.network.rpn.head.state_dict())
    twin.roi_heads.box_predictor.load_state_dict(
        detector.network.roi_heads.box_predictor.state_dict()
    )
    images = noise((64, 64))
    ours, theirs = detector.eval()(images), twin.eval()(images)
    for our, their in zip(ours, theirs, strict=True):
        assert len(our["boxes"]) > 5
        torch.testing.assert_close(our["boxes"], their["boxes"])
        torch.testing.assert_close(our["scores"], their["scores"])
        torch.testing.assert_close(our["labels"], their["labels"] - 1)


def test_images_are_normalised_once_and_padded_with_zeros(
    small_detector: Make, noise: Noise
) -> None:
    encoder = build("resnet18", 32)
    expected = encoder.eval().stages(noise((64, 96))[0][None])
    backbone = new_detector(encoder, small_detector(), 2, "boxes").eval().network
    seen: list[Tensor] = []
    backbone.backbone.encoder.layer4.register_forward_hook(lambda *a: seen.append(a[2]))
    batch, _ = backbone.transform(noise((64, 96)))
    backbone.backbone(batch.tensors)
    torch.testing.assert_close(seen[0], expected[-1])
    wide, _ = backbone.transform(noise((40, 50)))
    assert wide.tensors.shape[-2:] == (64, 64)
    assert not wide.tensors[..., 40:, :].any()


@pytest.mark.parametrize("kind", ["c4", "fpn", "retinanet"])
def test_nothing_reaches_a_frozen_encoder(kind: str, small_detector: Make, noise: Noise) -> None:
    anchors = (16, 32) if kind == "c4" else LEVELS
    settings = small_detector(kind=kind, frozen=True, anchors=anchors, new_norm=True, box_samples=4)
    encoder = build("resnet18", 32)
    before = copy.deepcopy(encoder.state_dict())
    detector = new_detector(encoder, settings, 2, "boxes").train()
    new = [p.clone() for p in trained(detector)[1]]
    assert not trained(detector)[0]
    for _ in range(2):
        step(detector, noise((64, 64), (64, 64)), a_target())
    after = encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.grad is None for m in detector.pretrained for p in m.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(new, trained(detector)[1], strict=True))


@pytest.mark.parametrize("norm", ["frozen", "trained", "synchronised"])
def test_batch_norm_is_what_was_asked_for(norm: str, small_detector: Make, noise: Noise) -> None:
    encoder = build("resnet18", 32)
    detector = new_detector(encoder, small_detector(norm=norm), 2, "boxes").train()
    first = encoder.layer1[0].bn1
    before = {name: value.clone() for name, value in first.state_dict().items()}
    weight = encoder.layer1[0].conv1.weight.clone()
    step(detector, noise((64, 64)), a_target())
    assert not torch.equal(encoder.layer1[0].conv1.weight, weight)
    changed = {name for name, value in first.state_dict().items() if (value != before[name]).any()}
    assert changed == (
        set()
        if norm == "frozen"
        else {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    )
    assert isinstance(first, SyncBatchNorm2d) == (norm == "synchronised")


@pytest.mark.parametrize("kind", ["c4", "fpn"])
@pytest.mark.parametrize("wanted", ["masks", "keypoints"])
def test_second_heads_learn_and_stand_images_without_objects(
    kind: str, wanted: Any, small_detector: Make, noise: Noise
) -> None:
    """Also with batch normalisation, whose statistics nothing may make NaN."""
    anchors = (16, 32) if kind == "c4" else LEVELS
    few = {"box_samples": 4, "test_proposals": 4, "detections": 3}
    settings = small_detector(
        kind=kind, anchors=anchors, new_norm=True, score=0.0, convolutions=1, **few
    )
    detector = new_detector(build("resnet18", 32), settings, 2, wanted, 2).train()
    step(detector, noise((64, 64)), a_target(wanted))
    head = getattr(detector.network.roi_heads, f"{wanted[:-1]}_predictor")
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    step(detector, noise((64, 64)), a_target(wanted, 0))
    assert all(value.isfinite().all() for value in detector.state_dict().values())
    found = detector.eval()(noise((64, 70)))[0]
    assert found["labels"].min() >= 0
    side = 14 if kind == "c4" else 28
    assert found[wanted].shape[1:] == ((1, side, side) if wanted == "masks" else (2, 3))


def test_the_first_class_is_number_zero_for_every_kind(small_detector: Make, noise: Noise) -> None:
    """R-CNN's labels begin behind the background, RetinaNet's do not."""
    for kind in ("fpn", "retinanet"):
        settings = small_detector(kind=kind, score=0.0)
        detector = new_detector(build("resnet18", 32), settings, 2, "boxes").train()
        losses = detector.losses(noise((64, 64)), [a_target()])
        assert all(value.isfinite() for value in losses.values())
        found = detector.eval()(noise((64, 64)))[0]
        assert set(found["labels"].tolist()) <= {0, 1}
        assert 0 in found["labels"].tolist()


def test_a_pyramid_starts_from_the_encoders_decoder(small_detector: Make) -> None:
    encoder = build("resnet18", 32, "fpn")
    lateral, smooth = (getattr(encoder.decoder, name)[2] for name in ("lateral", "smooth"))
    pyramid = new_detector(encoder, small_detector(pyramid=256), 2, "boxes").network.backbone
    assert pyramid.from_decoder
    assert torch.equal(pyramid.fpn.inner_blocks[2][0].weight, lateral.weight)
    assert torch.equal(pyramid.fpn.layer_blocks[2][0].bias, smooth.bias)
    narrow = new_detector(build("resnet18", 32, "fpn"), small_detector(), 2, "boxes")
    assert not narrow.network.backbone.from_decoder


def test_what_does_not_fit_is_an_error(small_detector: Make) -> None:
    with pytest.raises(UserError, match="five levels"):
        new_detector(build("resnet18", 32), small_detector(anchors=(8, 16)), 2, "boxes")
    with pytest.raises(UserError, match="finds boxes alone"):
        new_detector(build("resnet18", 32), small_detector(kind="retinanet"), 2, "masks")
    with pytest.raises(UserError, match="c4 needs a ResNet"):
        new_detector(build("timm/convnext_atto", 32), small_detector(kind="c4"), 2, "boxes")
    with pytest.raises(UserError, match="a pyramid needs"):
        new_detector(build("resnet18", 8), small_detector(), 2, "boxes")
    assert encoder_stride(small_detector(), None) == 32
    assert encoder_stride(small_detector(kind="c4"), 16) == 16
    with pytest.raises(UserError, match="needs an encoder of stride 32, not 8"):
        encoder_stride(small_detector(), 8)


def test_retinanet_has_nine_anchors_and_other_backbones_fit(
    small_detector: Make, noise: Noise
) -> None:
    settings = small_detector(kind="retinanet", score=0.0)
    detector = new_detector(build("timm/convnext_atto", 32), settings, 2, "boxes").eval()
    assert detector.network.anchor_generator.num_anchors_per_location() == [9] * 5
    assert len(detector(noise((64, 64)))[0]["boxes"]) > 0


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_second_heads_stand_images_in_which_nothing_is_found(
    kind: str, small_detector: Make, noise: Noise
) -> None:
    anchors = (16, 32) if kind == "c4" else LEVELS
    settings = small_detector(kind=kind, anchors=anchors, score=0.999, test_proposals=4)
    for wanted in ("masks", "keypoints"):
        detector = new_detector(build("resnet18", 32), settings, 2, wanted, 2).eval()
        found = detector(noise((64, 64)))[0]
        assert len(found["boxes"]) == len(found[wanted]) == 0
