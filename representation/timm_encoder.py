"""Backbones of timm as encoders: any that gives feature maps."""

import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.encoder import Encoder, Stride
from selfflow.runs.errors import UserError

PREFIX = "timm/"
PROBE = 128  # pixels; a multiple of all strides


class TimmEncoder(Encoder):
    """A network of timm without its classifier, untrained.

    Images are padded on the right and at the bottom, with what the normalisation makes zero, up to
    a multiple of the coarsest stride, so that there are ceil(size / stride) cells. Weights have the
    names of timm's network with `features_only=True`, behind "network.".

    Where the cells lie follows from kernels, strides and padding of the layers on the way (see
    `cell_alignment`).

    Args:
        name: in timm.
        stride: of the last stage.

    Raises:
        UserError: timm has no such network, it gives no feature maps, or not at this stride.
    """

    def __init__(self, name: str, stride: Stride = 32) -> None:
        network = feature_network(name, stride)
        information = network.feature_info
        # Stages finer than 4 pixels are of no use to a decoder.
        kept = [i for i, each in enumerate(information.reduction()) if each >= 4]
        configuration = network.pretrained_cfg
        super().__init__(
            PREFIX + name,
            [information.channels()[i] for i in kept],
            [information.reduction()[i] for i in kept],
            alignment=cell_alignment(network, stride),
            mean=configuration["mean"],
            std=configuration["std"],
        )
        self.network = network
        self.kept = kept

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        """Return the stages with strides of 4 and more, from fine to coarse."""
        coarsest = self.stage_strides[-1]
        height, width = images.shape[-2:]
        outputs = self.network(F.pad(images, (0, -width % coarsest, 0, -height % coarsest)))
        stages = [outputs[i] for i in self.kept]
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            stages = [stage.permute(0, 3, 1, 2) for stage in stages]
        return [
            stage[..., : -(-height // each), : -(-width // each)]
            for stage, each in zip(stages, self.stage_strides, strict=True)
        ]


def feature_network(name: str, stride: int) -> Any:
    """Return timm's network of feature maps; UserError if there is none at this stride."""
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name}*")[:5])
        raise UserError(f"timm has no network {name!r}" + (f"; near are {near}" if near else ""))
    problem = ""
    # Convolutional networks take a stride, transformers a size that varies; some neither.
    for options in ({"output_stride": stride}, {"dynamic_img_size": True}, {}):
        try:
            network: Any = timm.create_model(name, features_only=True, pretrained=False, **options)
        except (TypeError, AssertionError, RuntimeError, NotImplementedError, ValueError) as error:
            problem = problem or f"gives no feature maps at stride {stride} ({error})"
            continue
        found = network.feature_info.reduction()[-1]
        if found == stride:
            return network
        problem = f"gives features of stride {found}, not {stride}; set encoder.stride"
    raise UserError(f"timm/{name} {problem}")


@torch.no_grad()
def cell_alignment(network: nn.Module, stride: int) -> float:
    """Return where the cells of the last stage are centred, see `Encoder.alignment`.

    An image is sent through, and each layer with a stride that is the first to see its resolution
    moves the centres by what kernel and padding say: k x k padded by (k - 1) / 2 not at all, 2 x 2
    and 4 x 4 patches by half of them. Shortcuts, which come later, and blurs are left out. What
    reduces the size without such a layer, like Swin's merging of patches, is taken for patches.
    """
    jump, offset = 1, 0.0

    def look(module: Any, inputs: tuple[Tensor, ...]) -> None:
        nonlocal jump, offset
        step, width = _first(module.stride), inputs[0].shape[-1]
        if step == 1 or width * jump > PROBE:
            return
        unseen = PROBE // (jump * width)
        offset += jump * (unseen - 1) / 2
        jump *= unseen
        kernel = (_first(module.kernel_size) - 1) * _first(getattr(module, "dilation", 1)) + 1
        padding = _first(module.padding)
        if type(module).__name__.endswith("Same"):
            padding = max((math.ceil(width / step) - 1) * step + kernel - width, 0) // 2
        offset += jump * ((kernel - 1) / 2 - padding)
        jump *= step

    layers = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [
        module.register_forward_pre_hook(look)
        for module in network.modules()
        if isinstance(module, layers)
    ]
    training = network.training
    network.eval()(torch.zeros(1, 3, PROBE, PROBE))
    network.train(training)
    for hook in hooks:
        hook.remove()
    offset += jump * (stride / jump - 1) / 2
    return 2 * offset / (stride - 1)


def _first(value: int | str | tuple[int, ...]) -> int:
    if isinstance(value, str):
        raise ValueError(f"padding {value!r}")
    return value[0] if isinstance(value, tuple) else value
