"""The parts of RAFT: encoders, motion encoder, recurrent unit, heads.

Parameter names are torchvision's, so that its state dicts load as they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Norm = Callable[[int], nn.Module]


class _Standardize(torch.autograd.Function):
    """Subtract the mean and divide by the deviation over the rows of `(B, N, C)`.

    Two passes less than autograd would make. Statistics are float32 at least.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        result = x - _row_mean(x).to(x.dtype)
        inverse = (_row_mean(result * result) + epsilon).rsqrt().to(x.dtype)
        result *= inverse
        ctx.save_for_backward(result, inverse)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result, inverse = ctx.saved_tensors
        change = gradient * result
        slope = _row_mean(change).to(gradient.dtype) * inverse
        offset = _row_mean(gradient).to(gradient.dtype) * inverse
        # inverse * (gradient - mean(gradient) - result * mean(gradient * result)), in one buffer.
        torch.addcmul(-offset, gradient, inverse, out=change)
        return change.addcmul_(result, slope, value=-1), None


def _row_mean(x: Tensor) -> Tensor:
    """Return the mean over the rows of `(B, N, C)`, `(B, 1, C)`, at least float32."""
    return x.mean(1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))


class InstanceNorm(nn.Module):
    """Instance normalisation without parameters: `nn.InstanceNorm2d` for channels-last memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, H, W)` over H and W."""
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            result = _Standardize.apply(rows, 1e-5)
        return result.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    norm: Norm | None = None,
    activation: bool = True,
) -> nn.Sequential:
    """Return a convolution that keeps the size (over `stride`), then norm, then ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)]
    if norm is not None:
        layers.append(norm(outputs))
    if activation:
        layers.append(nn.ReLU(inplace=norm is None))
    return nn.Sequential(*layers)


def _shortcut(inputs: int, outputs: int, stride: int, norm: Norm | None) -> nn.Module:
    if stride == 1:
        return nn.Identity()
    return convolution(inputs, outputs, 1, stride=stride, norm=norm, activation=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with its own ReLU, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm | None) -> None:
        super().__init__()
        self.convnormrelu1 = convolution(inputs, outputs, stride=stride, norm=norm)
        self.convnormrelu2 = convolution(outputs, outputs, norm=norm)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        return F.relu(self.downsample(x) + self.convnormrelu2(self.convnormrelu1(x)), inplace=True)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a quarter of the channels between, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm | None) -> None:
        super().__init__()
        middle = outputs // 4
        self.convnormrelu1 = convolution(inputs, middle, 1, norm=norm)
        self.convnormrelu2 = convolution(middle, middle, stride=stride, norm=norm)
        self.convnormrelu3 = convolution(middle, outputs, 1, norm=norm)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        y = self.convnormrelu3(self.convnormrelu2(self.convnormrelu1(x)))
        return F.relu(self.downsample(x) + y, inplace=True)


class Encoder(nn.Module):
    """Images to features at an eighth of the size; used for features and for context."""

    def __init__(
        self,
        block: type[ResidualBlock] | type[BottleneckBlock],
        channels: tuple[int, int, int, int, int],
        norm: Norm | None,
    ) -> None:
        super().__init__()
        stem, first, second, third, outputs = channels
        self.convnormrelu = convolution(3, stem, 7, stride=2, norm=norm)
        self.layer1 = nn.Sequential(block(stem, first, 1, norm), block(first, first, 1, norm))
        self.layer2 = nn.Sequential(block(first, second, 2, norm), block(second, second, 1, norm))
        self.layer3 = nn.Sequential(block(second, third, 2, norm), block(third, third, 1, norm))
        self.conv = nn.Conv2d(third, outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, 3, H, W)`, H and W multiples of 8, to `(B, outputs, H / 8, W / 8)`."""
        return self.conv(self.layer3(self.layer2(self.layer1(self.convnormrelu(x)))))


class MotionEncoder(nn.Module):
    """Correlation and the present flow to motion features; the flow itself comes last."""

    def __init__(
        self, correlation: int, *, corr: tuple[int, ...], flow: tuple[int, int], outputs: int
    ) -> None:
        super().__init__()
        self.convcorr1 = convolution(correlation, corr[0], 1)
        self.convcorr2 = convolution(corr[0], corr[1]) if len(corr) > 1 else nn.Identity()
        self.convflow1 = convolution(2, flow[0], 7)
        self.convflow2 = convolution(flow[0], flow[1])
        self.conv = convolution(corr[-1] + flow[1], outputs - 2)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """Map flow `(B, 2, h, w)` and correlation windows to features `(B, outputs, h, w)`."""
        of_correlation = self.convcorr2(self.convcorr1(correlation))
        of_flow = self.convflow2(self.convflow1(flow))
        motion = self.conv(torch.cat((of_correlation, of_flow), 1))
        return torch.cat((motion, flow.to(motion.dtype)), 1)


class Gates(NamedTuple):
    """What a recurrent unit computes once and uses in every iteration.

    The kernels act on [hidden state, motion]; the context's share of each gate's convolution, bias
    included, is the same in every iteration.
    """

    update_reset_kernel: Tensor
    candidate_kernel: Tensor
    update_reset_context: Tensor
    candidate_context: Tensor


class ConvGRU(nn.Module):
    """A convolutional gated recurrent unit on [hidden state, context, motion]."""

    def __init__(self, hidden: int, context: int, motion: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.hidden = hidden
        self.context = context
        self.padding = (kernel[0] // 2, kernel[1] // 2)
        inputs = hidden + context + motion
        self.convz = nn.Conv2d(inputs, hidden, kernel, padding=self.padding)
        self.convr = nn.Conv2d(inputs, hidden, kernel, padding=self.padding)
        self.convq = nn.Conv2d(inputs, hidden, kernel, padding=self.padding)

    def gates(self, context: Tensor) -> Gates:
        """Split the kernels and convolve `context` `(B, context, h, w)` with its share."""
        convs = (self.convz, self.convr, self.convq)
        kernel = torch.cat([conv.weight for conv in convs])
        bias = torch.cat([conv.bias for conv in convs if conv.bias is not None])
        if torch.is_autocast_enabled(context.device.type):
            # Autocast would convert what is no parameter again in every iteration.
            kernel = kernel.to(torch.get_autocast_dtype(context.device.type))
        of_hidden, of_context, of_motion = kernel.split(
            (self.hidden, self.context, kernel.shape[1] - self.hidden - self.context), 1
        )
        share = F.conv2d(context, of_context, bias, padding=self.padding)
        rest = torch.cat((of_hidden, of_motion), 1)
        two = 2 * self.hidden
        return Gates(rest[:two], rest[two:], share[:, :two], share[:, two:])

    def forward(self, hidden: Tensor, motion: Tensor, gates: Gates) -> Tensor:
        """Return the next hidden state, `(B, hidden, h, w)`."""
        both = F.conv2d(
            torch.cat((hidden, motion), 1), gates.update_reset_kernel, padding=self.padding
        )
        update, reset = torch.sigmoid(both + gates.update_reset_context).chunk(2, 1)
        candidate = F.conv2d(
            torch.cat((reset * hidden, motion), 1), gates.candidate_kernel, padding=self.padding
        )
        return torch.lerp(hidden, torch.tanh(candidate + gates.candidate_context), update)


class RecurrentBlock(nn.Module):
    """One recurrent unit, or two with kernels along x and then along y."""

    def __init__(
        self, hidden: int, context: int, motion: int, kernels: tuple[tuple[int, int], ...]
    ) -> None:
        super().__init__()
        self.convgru1 = ConvGRU(hidden, context, motion, kernels[0])
        if len(kernels) > 1:
            self.convgru2 = ConvGRU(hidden, context, motion, kernels[1])

    def gates(self, context: Tensor) -> list[Gates]:
        """Return the gates of each unit."""
        return [unit.gates(context) for unit in self._units()]

    def forward(self, hidden: Tensor, motion: Tensor, gates: list[Gates]) -> Tensor:
        """Return the next hidden state, `(B, hidden, h, w)`."""
        for unit, own in zip(self._units(), gates, strict=True):
            hidden = unit(hidden, motion, own)
        return hidden

    def _units(self) -> list[ConvGRU]:
        return [unit for unit in self.children() if isinstance(unit, ConvGRU)]


class FlowHead(nn.Module):
    """Hidden state to the change of the flow."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, 2, h, w)`."""
        return self.conv2(F.relu(self.conv1(x), inplace=True))


class UpdateBlock(nn.Module):
    """One step of the refinement."""

    def __init__(self, motion: MotionEncoder, recurrent: RecurrentBlock, head: FlowHead) -> None:
        super().__init__()
        self.motion_encoder = motion
        self.recurrent_block = recurrent
        self.flow_head = head

    def forward(
        self, hidden: Tensor, gates: list[Gates], correlation: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and the change of the flow `(B, 2, h, w)`."""
        hidden = self.recurrent_block(hidden, self.motion_encoder(flow, correlation), gates)
        return hidden, self.flow_head(hidden)


class MaskPredictor(nn.Module):
    """Hidden state to the weights of the convex upsampling, before the softmax."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convrelu = convolution(inputs, 256)
        self.conv = nn.Conv2d(256, 9 * 8 * 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, 9 * 8 * 8, h, w)`.

        A quarter, as in RAFT's code, balances the gradients of this branch.
        """
        return 0.25 * self.conv(self.convrelu(x))
