"""Faster, Mask and Keypoint R-CNN and RetinaNet on our encoders, put together from torchvision's.

What differs from detectron2, in which the papers measured: regression by smooth L1 (beta 1/9 in
the RoI heads, R-CNN's; detectron2: L1), RoIAlign with two samples a side and without the shift by
half a cell (a ResNet's cells are centred on multiples of the stride here), images of a batch not
grouped by their form.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from representation.encoder import Encoder
from representation.norm import synchronise
from representation.readout.objects.coco_format import Wanted
from representation.readout.objects.settings import DetectorSettings
from representation.readout.objects.trunks import (
    C4Trunk,
    Convolutions,
    PooledRes5,
    Pyramid,
    Res5,
    norms,
)
from representation.resnet import ResNet
from selfflow.runs.errors import UserError

LEVELS = ["0", "1", "2", "3"]  # of the pyramid that regions are read from
SAMPLES = 2  # of RoIAlign, in each cell and direction


class Normalisation(GeneralizedRCNNTransform):
    """Normalise images and pad them to a batch; boxes and masks come back as the network has them.

    Sizes are our own affair: images are resized before they come here (antialiased, which
    torchvision's are not), and masks pasted into the image's own size afterwards.
    """

    def __init__(self, encoder: Encoder) -> None:
        mean, std = (each.flatten().tolist() for each in (encoder.mean, encoder.std))
        super().__init__(1, 1, mean, std)

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """Leave an image and its objects as they are."""
        return image, target

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        """Leave what was found as it is."""
        return result


class Detector(nn.Module):
    """A network that finds objects, with the parts of the encoder that are frozen staying so.

    Attributes:
        network: torchvision's.
        pretrained: what comes from the encoder.
        first_label: that the network gives to class 0: R-CNN's 0 is the background.
    """

    def __init__(
        self, network: nn.Module, pretrained: list[nn.Module], settings: DetectorSettings
    ) -> None:
        super().__init__()
        self.network = network
        self.first_label = 0 if settings.kind == "retinanet" else 1
        # In tuples, so that they are no second entries of the state dict.
        self.pretrained = tuple(pretrained)
        self._still: tuple[nn.Module, ...] = ()
        if settings.frozen:
            self._still = self.pretrained
        elif settings.norm == "frozen":
            self._still = tuple(norms(pretrained))
        for module in self._still:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Detector":
        """Change between training and testing; what is frozen does not follow."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the training's losses by name.

        Args:
            images: `(3, H, W)` each, RGB in [0, 1], of any sizes.
            targets: `boxes` `(N, 4)`, `labels` `(N,)` from 0, and `masks` `(N, H, W)` uint8 or
                `keypoints` `(N, K, 3)`.
        """
        shifted = [{**each, "labels": each["labels"] + self.first_label} for each in targets]
        named: dict[str, Tensor] = self.network(images, shifted)
        return {name.removeprefix("loss_"): value for name, value in named.items()}

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return `boxes`, `scores`, `labels` from 0, and `masks` or `keypoints`, for each image.

        Boxes are in pixels of the image as it was given; masks `(N, 1, 28, 28)` (c4: 14 x 14) are
        those of the boxes, not yet pasted.
        """
        found: list[dict[str, Tensor]] = self.network(images)
        return [{**each, "labels": each["labels"] - self.first_label} for each in found]


class Heads(NamedTuple):
    """What R-CNN has after its proposals: modules, or None where torchvision's own is taken."""

    box_head: nn.Module
    box_width: int
    names: list[str]
    side: int
    second: nn.Module | None  # on the regions of masks or keypoints; None: convolutions
    second_width: int


def new_detector(
    encoder: Encoder, settings: DetectorSettings, classes: int, wanted: Wanted, points: int = 0
) -> Detector:
    """Return a detector with new heads; the encoder becomes a part of it.

    Random weights are drawn from torch's generator, which the caller seeds.

    Args:
        encoder: at the stride that the detector needs, see `encoder_stride`.
        settings: what is built.
        classes: how many there are, without background.
        wanted: boxes alone, masks, or keypoints.
        points: how many keypoints an object has.

    Raises:
        UserError: the encoder has not the stages that are needed, or the number of anchors does
            not fit.
    """
    if settings.kind == "retinanet":
        if wanted != "boxes":
            raise UserError("detector.kind = retinanet finds boxes alone")
        return _retinanet(encoder, settings, classes)
    if settings.kind == "c4":
        backbone, heads, pretrained = _c4(encoder, settings)
    else:
        backbone, heads, pretrained = _fpn(encoder, settings)
    pool = MultiScaleRoIAlign(heads.names, heads.side, SAMPLES)
    shared: dict[str, Any] = {
        "rpn_anchor_generator": anchor_generator(settings),
        "rpn_pre_nms_top_n_train": settings.candidates,
        "rpn_post_nms_top_n_train": settings.proposals,
        "rpn_pre_nms_top_n_test": settings.test_candidates,
        "rpn_post_nms_top_n_test": settings.test_proposals,
        "rpn_batch_size_per_image": settings.anchor_samples,
        "box_roi_pool": pool,
        "box_head": heads.box_head,
        "box_predictor": FastRCNNPredictor(heads.box_width, classes + 1),
        "box_score_thresh": settings.score,
        "box_nms_thresh": settings.suppression,
        "box_detections_per_img": settings.detections,
        "box_batch_size_per_image": settings.box_samples,
    }
    if wanted == "masks":
        shared |= _mask_heads(settings, heads, classes, backbone.out_channels)
        network: nn.Module = MaskRCNN(backbone, **shared)
    elif wanted == "keypoints":
        shared |= _keypoint_heads(settings, heads, points, backbone.out_channels)
        network = KeypointRCNN(backbone, **shared)
    else:
        network = FasterRCNN(backbone, **shared)
    network.transform = Normalisation(encoder)
    return _finished(Detector(network, pretrained, settings), settings)


def encoder_stride(settings: DetectorSettings, given: int | None) -> int:
    """Return the stride that the encoder is built at: 32, whatever it was trained at.

    With c4 also 16, which leaves regions at twice the resolution.
    """
    allowed = (16, 32) if settings.kind == "c4" else (32,)
    if given is not None and given not in allowed:
        raise UserError(
            f"detector.kind = {settings.kind} needs an encoder of stride "
            f"{' or '.join(map(str, allowed))}, not {given}; its weights fit any"
        )
    return given or 32


def anchor_generator(settings: DetectorSettings) -> AnchorGenerator:
    """Return the anchors: all sizes on the one map of c4, else one for each level.

    RetinaNet has three sizes a level, a third of an octave apart (Lin et al., ICCV 2017).
    """
    if settings.kind == "c4":
        return AnchorGenerator((settings.anchors,), (settings.ratios,))
    if len(settings.anchors) != 5:
        raise UserError(
            f"detector.anchors = {list(settings.anchors)}: {settings.kind} has five levels"
        )
    scales = (1, 2 ** (1 / 3), 2 ** (2 / 3)) if settings.kind == "retinanet" else (1,)
    sizes = tuple(tuple(int(size * scale) for scale in scales) for size in settings.anchors)
    return AnchorGenerator(sizes, (settings.ratios,) * 5)


def _c4(encoder: Encoder, settings: DetectorSettings) -> tuple[Any, Heads, list[nn.Module]]:
    if not isinstance(encoder, ResNet):
        raise UserError(f"detector.kind = c4 needs a ResNet, not {encoder.architecture}; try fpn")
    channels = encoder.stage_channels[3]
    trunk = C4Trunk(encoder)
    res5 = Res5(encoder, norm=settings.new_norm)
    heads = Heads(PooledRes5(res5), channels, ["0"], 14, res5, channels)
    return trunk, heads, [trunk, encoder.layer4]


def _fpn(encoder: Encoder, settings: DetectorSettings) -> tuple[Any, Heads, list[nn.Module]]:
    backbone = Pyramid(encoder, settings.pyramid, first=0, norm=settings.new_norm)
    side, wide = 7, settings.pyramid
    head: nn.Module
    if settings.convolutions:
        norm = nn.BatchNorm2d if settings.new_norm else None
        convolutions = [wide] * settings.convolutions
        head = FastRCNNConvFCHead((wide, side, side), convolutions, [settings.width], norm)
    else:
        head = TwoMLPHead(wide * side**2, settings.width)
    return backbone, Heads(head, settings.width, LEVELS, side, None, 0), [encoder]


def _mask_heads(
    settings: DetectorSettings, heads: Heads, classes: int, channels: int
) -> dict[str, Any]:
    """Return Mask R-CNN's second head: res5 again (C4), or four convolutions (FPN)."""
    head, wide, width = heads.second, heads.second_width, settings.mask_width
    if head is None:
        norm = nn.BatchNorm2d if settings.new_norm else None
        layers = MaskRCNNHeads(channels, [width] * 4, 1, norm_layer=norm)
        head, wide = Convolutions(layers, width), width
    return {
        "mask_roi_pool": MultiScaleRoIAlign(heads.names, 14, SAMPLES),
        "mask_head": head,
        "mask_predictor": MaskRCNNPredictor(wide, width, classes + 1),
    }


def _keypoint_heads(
    settings: DetectorSettings, heads: Heads, points: int, channels: int
) -> dict[str, Any]:
    """Return Keypoint R-CNN's second head: eight convolutions, after res5 in C4."""
    width = settings.keypoint_width
    convolutions = KeypointRCNNHeads(heads.second_width or channels, [width] * 8)
    head = convolutions if heads.second is None else nn.Sequential(heads.second, convolutions)
    return {
        "keypoint_roi_pool": MultiScaleRoIAlign(heads.names, 14, SAMPLES),
        "keypoint_head": head,
        "keypoint_predictor": KeypointRCNNPredictor(width, points),
    }


def _retinanet(encoder: Encoder, settings: DetectorSettings, classes: int) -> Detector:
    backbone = Pyramid(encoder, settings.pyramid, first=1, norm=settings.new_norm)
    generator = anchor_generator(settings)
    each = generator.num_anchors_per_location()[0]
    norm = nn.BatchNorm2d if settings.new_norm else None
    network = RetinaNet(
        backbone,
        classes,
        anchor_generator=generator,
        head=RetinaNetHead(settings.pyramid, each, classes, norm_layer=norm),
        score_thresh=settings.score,
        nms_thresh=settings.suppression,
        detections_per_img=settings.detections,
        topk_candidates=settings.test_candidates,
    )
    network.transform = Normalisation(encoder)
    return _finished(Detector(network, [encoder], settings), settings)


def _finished(detector: Detector, settings: DetectorSettings) -> Detector:
    """Return the detector with its batch normalisation as it was asked for, in training."""
    if settings.norm == "synchronised":
        synchronise(detector.network)
    return detector.train()


def trained(detector: Detector) -> tuple[list[Tensor], list[Tensor]]:
    """Return the parameters that are trained: the encoder's, and the new ones."""
    own = {id(p) for module in detector.pretrained for p in module.parameters()}
    everything = [p for p in detector.parameters() if p.requires_grad]
    return [p for p in everything if id(p) in own], [p for p in everything if id(p) not in own]
