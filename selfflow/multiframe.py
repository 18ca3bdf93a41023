"""Labels from three frames: what two frames cannot show, the frame before them tells.

A pixel of the middle frame that is hidden in the next one is often seen in the one before. There a
small network per triplet, fitted on pixels seen in both, turns the flow backwards in time into the
flow forwards (SMURF, Stone et al., CVPR 2021, section 3.4). The published program fits one triplet
after the other; here many are fitted at once, in grouped convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from selfflow.flow import check_flow, consistent, pixel_grid, stays_inside
from selfflow.objective import FlowNetwork
from selfflow.random import purpose, uniform
from selfflow.runs.config import Config

INPUTS = 4  # flow backwards, turned round, and the pixel's own position
# Pixels of all triplets that are fitted together: on a CPU, more of them leave its caches and are
# slower than one triplet after the other; on a GPU, memory is the limit.
PIXELS_AT_ONCE = {"cpu": 2**15, "cuda": 2**24}


class FitSettings(Config):
    """How the small network of a triplet is fitted. The defaults are SMURF's, for a GPU."""

    steps: int = Field(2000, ge=1, description="of Adam")
    learning_rate: float = Field(0.01, gt=0, description="of the first step")
    decay: float = Field(
        0.01153, gt=0, le=1, description="of the learning rate over all steps (0.8 each 100)"
    )
    channels: int = Field(16, ge=1, description="of both hidden layers")
    # The flow of a moving surface changes little from pixel to pixel; see `fit_motion`.
    stride: int = Field(
        1, ge=1, le=16, description="pixels from one that is fitted to the next, px"
    )
    least: float = Field(
        0.05, ge=0, le=1, description="share seen both ways below which nothing is filled in"
    )


class LabelSettings(Config):
    """How labels are made of triplets."""

    iterations: int = Field(32, ge=1, description="of RAFT")
    relative: float = Field(0.01, ge=0, description="forward-backward check: share of |flow|²")
    absolute: float = Field(0.5, ge=0, description="forward-backward check: pixels²")
    pairs_at_once: int = Field(4, ge=1, description="in a call of the network")
    batch_size: int = Field(32, ge=1, description="triplets that are fitted at once")
    fit: FitSettings = FitSettings()


@dataclass(frozen=True)
class Motions:
    """The motion of the middle frames of T triplets.

    Attributes:
        forward: flow to the next frame, `(T, 2, H, W)` pixels.
        backward: flow to the frame before, likewise.
        ahead: which pixels are seen in the next frame, `(T, 1, H, W)` bool.
        behind: which pixels are seen in the frame before, likewise.
    """

    forward: Tensor
    backward: Tensor
    ahead: Tensor
    behind: Tensor


@dataclass(frozen=True)
class Labels:
    """Flow to learn from, of T triplets.

    Attributes:
        flow: from the middle frame to the next, `(T, 2, H, W)` pixels.
        valid: where it is to be believed, `(T, 1, H, W)` bool.
        filled: where it comes from the frame before, likewise; part of `valid`.
    """

    flow: Tensor
    valid: Tensor
    filled: Tensor


def make_labels(
    network: FlowNetwork,
    frames: Tensor,
    triplets: Sequence[tuple[int, int, int]],
    keys: Tensor,
    settings: LabelSettings,
) -> Labels:
    """Return the labels of triplets of `frames` `(N, 3, H, W)`; see `find_motions`, `fit_motion`.

    The network should be in evaluation mode.
    """
    motions = find_motions(network, frames, triplets, settings)
    return fill(motions, fit_motion(motions, keys, settings.fit), settings.fit.least)


@torch.no_grad()
def find_motions(
    network: FlowNetwork,
    frames: Tensor,
    triplets: Sequence[tuple[int, int, int]],
    settings: LabelSettings,
) -> Motions:
    """Return what a two-frame network sees of the motion of triplets' middle frames.

    Neighbouring triplets share a pair of frames, and forward and backward flow of a pair share
    features and correlation: T consecutive triplets take T + 1 calls where four a triplet would be
    4 T.

    Args:
        network: of two frames.
        frames: `(N, 3, H, W)` in [0, 1].
        triplets: numbers of the frames before, in the middle and after, T of them.
        settings: iterations, check, and how many pairs make a call.
    """
    pairs = sorted({pair for triplet in triplets for pair in pairwise(triplet)})
    forward, backward = [], []
    at_once = settings.pairs_at_once
    for first in range(0, len(pairs), at_once):
        earlier, later = (list(part) for part in zip(*pairs[first : first + at_once], strict=True))
        flows = network.bidirectional(frames[earlier], frames[later], settings.iterations)
        forward.append(flows[0])
        backward.append(flows[1])
    onwards, back = torch.cat(forward).float(), torch.cat(backward).float()
    place = {pair: number for number, pair in enumerate(pairs)}
    into = [place[before, middle] for before, middle, _ in triplets]
    out = [place[middle, after] for _, middle, after in triplets]
    return Motions(
        forward=onwards[out],
        backward=back[into],
        ahead=seen(onwards[out], back[out], settings),
        behind=seen(back[into], onwards[into], settings),
    )


def seen(flow: Tensor, reverse: Tensor, settings: LabelSettings) -> Tensor:
    """Return which pixels are not hidden in the other frame, `(T, 1, H, W)` bool.

    Those whose flow leaves the frame count as seen, as in SMURF: nobody can check them, and the
    two-frame network goes on with what it sees around them.
    """
    agreeing = consistent(flow, reverse, relative=settings.relative, absolute=settings.absolute)
    return agreeing | ~stays_inside(flow)


def fill(motions: Motions, predicted: Tensor, least: float) -> Labels:
    """Return the forward flow, with `predicted` where only the frame before shows the pixel.

    Triplets of which less than the share `least` is seen both ways are left unfilled: little
    holds their prediction.
    """
    both = (motions.ahead & motions.behind).float().mean((1, 2, 3), keepdim=True)
    filled = ~motions.ahead & motions.behind & (both >= least) & (both > 0)
    flow = torch.where(filled, predicted, motions.forward)
    valid = (motions.ahead | filled) & flow.isfinite().all(1, keepdim=True)
    return Labels(torch.where(valid, flow, 0), valid, filled & valid)


# --- the small networks -------------------------------------------------------------------------


def fit_motion(motions: Motions, keys: Tensor, settings: FitSettings) -> Tensor:
    """Return the flow forwards that the flow backwards tells, `(T, 2, H, W)` pixels.

    For each triplet a network of its own, 3x3 convolutions with rectifiers between them, of (minus
    the backward flow, x, y in [-1, 1]) is fitted to the forward flow: the sum of end-point errors
    over pixels seen both ways, by Adam. Many are fitted in the same grouped convolutions; a sum
    over triplets has each one's own gradient, and Adam works on every number by itself, so the
    result is that of one after the other up to rounding.

    With a stride s every s-th row and column is fitted, in 1/s² of the time; the networks are then
    applied with convolutions dilated by s, which at the pixels fitted are the same function.

    Args:
        motions: of T triplets.
        keys: `(T,)`, see `selfflow.random`: where the networks begin.
        settings: steps, learning rate and size.
    """
    check_flow(motions.forward, "forward")
    inputs = _inputs(motions.backward)
    stride = settings.stride
    lattice = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    fitted = inputs[lattice]
    mask = (motions.ahead & motions.behind)[lattice]
    # A flow that is not finite anywhere would spoil its whole triplet through 0 · NaN.
    target = torch.where(mask, motions.forward[lattice], 0)
    pixels = fitted.shape[-2] * fitted.shape[-1]
    at_once = max(1, PIXELS_AT_ONCE[inputs.device.type] // max(pixels, 1))
    predicted = []
    for first in range(0, len(inputs), at_once):
        part = slice(first, first + at_once)
        parameters = _fit(fitted[part], target[part], mask[part], keys[part], settings)
        # One by one: at full size the hidden layers of all would take a lot of memory.
        for number, whole in enumerate(inputs[part].split(1)):
            own = [each[number : number + 1] for each in parameters]
            predicted.append(_apply(own, whole, stride))
    return torch.cat(predicted)


def _fit(
    inputs: Tensor, target: Tensor, mask: Tensor, keys: Tensor, settings: FitSettings
) -> list[Tensor]:
    """Return the parameters of networks from `inputs` to `target` where `mask` is true."""
    parameters = [part.requires_grad_() for part in _initial(keys, settings.channels, inputs)]
    optimizer = torch.optim.Adam(parameters, eps=1e-7)  # Keras' epsilon
    with torch.enable_grad():
        for step in range(settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.decay ** (step / settings.steps)
            optimizer.zero_grad()
            square = (_apply(parameters, inputs) - target).square().sum(1, keepdim=True)
            # Rounded up by a billionth of a pixel, because a square root at 0 has no gradient.
            torch.where(mask, (square + 1e-18).sqrt(), 0).sum().backward()
            optimizer.step()
    return [part.detach() for part in parameters]


def _inputs(backward: Tensor) -> Tensor:
    """Return what the networks see, `(T, 4, H, W)`: minus the flow, x and y in [-1, 1]."""
    height, width = backward.shape[-2:]
    last = backward.new_tensor((max(width - 1, 1), max(height - 1, 1))).view(1, 2, 1, 1)
    grid = pixel_grid(height, width, device=backward.device, dtype=backward.dtype)
    turned = torch.where(backward.isfinite(), -backward, 0)
    return torch.cat((turned, (2 * grid / last - 1).expand_as(turned)), 1)


def _initial(keys: Tensor, channels: int, like: Tensor) -> list[Tensor]:
    """Return weights `(T, out, in, 3, 3)` and biases `(T, out)` of each layer, in turn.

    Weights are uniform with the variance of Glorot and Bengio (AISTATS 2010), as Keras does it,
    biases zero.
    """
    parameters: list[Tensor] = []
    for layer, (inputs, outputs) in enumerate(pairwise((INPUTS, channels, channels, 2))):
        bound = (6 / (9 * (inputs + outputs))) ** 0.5
        own = purpose(keys, "motion in time", layer)
        weight = uniform(own, outputs, inputs, 3, 3, low=-bound, high=bound)
        parameters += [weight.to(like), like.new_zeros(len(keys), outputs)]
    return parameters


def _apply(parameters: Sequence[Tensor], inputs: Tensor, dilation: int = 1) -> Tensor:
    """Return what T networks make of `inputs` `(T, 4, H, W)`, each of its own, `(T, 2, H, W)`."""
    count, _, height, width = inputs.shape
    values = inputs.reshape(1, -1, height, width)
    if values.device.type == "cpu":
        # Groups of 16 channels that lie together fill a processor's vector registers.
        values = values.contiguous(memory_format=torch.channels_last)
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for number, (weight, bias) in enumerate(layers):
        values = F.conv2d(
            values,
            weight.flatten(0, 1),
            bias.flatten(),
            padding=dilation,
            dilation=dilation,
            groups=count,
        )
        if number < len(layers) - 1:
            values = values.relu_()
    return values.reshape(count, 2, height, width)
