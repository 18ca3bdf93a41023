"""Samples of a stream: hyperparameters, a seed and numbers in; frames, flow and masks out.

Frames are cut into blocks of 16x16 pixels. For each layer only the blocks that its box can touch
are evaluated: where on the layer is the pixel (closed form), is it covered (distance map), which
colour (atlas). The same code serves any batch on any device; on the CPU each thread takes a few
samples of its own, which stay in its caches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autoflow.blocks import Blocks
from autoflow.effects import apply_effects
from autoflow.hyperparameters import Hyperparameters
from autoflow.paint import paint
from autoflow.scene import Scenes, draw_scenes
from autoflow.textures import PhotographBank, bank, tile_side
from autoflow.threads import map_in_threads
from autoflow.tracking import follow, visible
from autoflow.views import Views
from selfflow.pairs import Pairs
from selfflow.random import key

PIXELS_AT_ONCE = {"cpu": 2**19, "cuda": 2**25}  # of all frames
SCENES_AT_ONCE = 8  # drawn together, as parts that are painted one after the other


@dataclass(frozen=True)
class Sample:
    """Rendered clips, with everything known about them.

    Attributes:
        frames: `(B, N, 3, H, W)` in [0, 1].
        forward: flow from frame t to t + 1, `(B, N - 1, 2, H, W)` pixels.
        backward: flow from frame t + 1 to t, `(B, N - 1, 2, H, W)` pixels.
        visible_forward: which pixels of frame t are seen in t + 1, `(B, N - 1, 1, H, W)` bool.
        visible_backward: which pixels of frame t + 1 are seen in t, `(B, N - 1, 1, H, W)` bool.
        valid: where flow is known: everywhere, `(B, N - 1, 1, H, W)` bool.
        layers: which layer is on top, 0 for the background, `(B, N, 1, H, W)` int64.
    """

    frames: Tensor
    forward: Tensor
    backward: Tensor
    visible_forward: Tensor
    visible_backward: Tensor
    valid: Tensor
    layers: Tensor

    def pairs(self, reverse: bool = False) -> Pairs:
        """Return all pairs of neighbouring frames, B * (N - 1) of them; backwards if `reverse`."""
        first, second = self.frames[:, :-1].flatten(0, 1), self.frames[:, 1:].flatten(0, 1)
        flow, visible = self.forward, self.visible_forward
        if reverse:
            first, second, flow, visible = second, first, self.backward, self.visible_backward
        return Pairs(
            first, second, flow.flatten(0, 1), self.valid.flatten(0, 1), visible.flatten(0, 1)
        )


def render(
    hyperparameters: Hyperparameters,
    seed: int,
    indices: Tensor | Sequence[int],
    *,
    size: tuple[int, int],
    frames: int = 2,
    device: torch.device | str | None = None,
    photographs: PhotographBank | None = None,
) -> Sample:
    """Render the samples number `indices` of the stream (hyperparameters, seed).

    Args:
        hyperparameters: one set.
        seed: of the stream, not negative.
        indices: which samples; each depends on its own number alone.
        size: height and width in pixels.
        frames: frames of a clip, at least 2.
        device: where to render; where `indices` are by default.
        photographs: pictures to take textures from, besides procedural ones.
    """
    if frames < 2 or min(size) < 2:
        raise ValueError(f"needs 2 frames of 2x2 pixels at least, got {frames} of {size}")
    numbers = torch.as_tensor(indices, dtype=torch.int64, device=device)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"needs a list of sample numbers, got shape {tuple(numbers.shape)}")
    at_once = max(1, PIXELS_AT_ONCE[numbers.device.type] // (size[0] * size[1] * frames))
    workers = torch.get_num_threads() if numbers.device.type == "cpu" else 1
    # Textures are made before the work is shared out, so that no two threads make them.
    tiles = tile_side(math.sqrt(size[0] * size[1]))
    bank(hyperparameters.textures, seed, tiles, photographs, numbers.device)

    whole = _empty(len(numbers), frames, size, numbers.device)

    together = min(SCENES_AT_ONCE * at_once, -(-len(numbers) // workers))

    def finish(first: int) -> None:
        share = numbers[first : first + together]
        scenes = draw_scenes(hyperparameters, seed, share, size, frames, photographs)
        for part, chosen in zip(scenes.split(at_once), share.split(at_once), strict=True):
            clean = render_scenes(part)
            pictures = apply_effects(clean.frames, hyperparameters.effects, key(seed, chosen))
            for name, values in vars(replace(clean, frames=pictures)).items():
                getattr(whole, name)[first : first + len(chosen)] = values
            first += len(chosen)

    map_in_threads(finish, range(0, len(numbers), together), count=workers)
    return whole


def render_scenes(scenes: Scenes) -> Sample:
    """Render scenes without the effects that concern whole frames."""
    batch, frames, device = len(scenes.present), scenes.frames, scenes.maps.device
    blocks = Blocks(scenes.height, scenes.width, device)
    times = torch.arange(frames, device=device, dtype=torch.float64).expand(batch, frames)
    half = scenes.shutter[:, None] / 2
    views, opening, closing = (Views.at(scenes, times + shift) for shift in (0, -half, half))
    canvas = paint(views, opening, closing, blocks)

    # Every pair of neighbouring frames, first forwards, then backwards.
    number = torch.arange(batch * frames, device=device).view(batch, frames)
    earlier, later = number[:, :-1].flatten(), number[:, 1:].flatten()
    source, target = torch.cat((earlier, later)), views.take(torch.cat((later, earlier)))
    top, *place = (blocks.of(values, source) for values in (canvas.top, canvas.x, canvas.y))
    ground, (x, y) = follow(target, blocks, top, (place[0], place[1]))
    seen = visible(target, blocks, top, ground, (x, y)).view(len(target), 1, blocks.count, -1)
    x, y = (values.view(len(target), blocks.count, -1) for values in (x, y))
    flow = torch.stack((x - blocks.x, y - blocks.y), 1).mul_(scenes.side)

    steps, size = (2, batch, frames - 1), (scenes.height, scenes.width)
    forward, backward = blocks.join(flow).view(*steps, 2, *size)
    visible_forward, visible_backward = blocks.join(seen).view(*steps, 1, *size)
    pictures = canvas.color.view(batch * frames, blocks.count, 3, -1).transpose(1, 2)
    layers = canvas.top.view(batch * frames, 1, blocks.count, -1)
    return Sample(
        frames=blocks.join(pictures).view(batch, frames, 3, *size),
        forward=forward,
        backward=backward,
        visible_forward=visible_forward,
        visible_backward=visible_backward,
        valid=torch.ones_like(visible_forward),
        layers=blocks.join(layers).view(batch, frames, 1, *size).long(),
    )


def _empty(batch: int, frames: int, size: tuple[int, int], device: torch.device) -> Sample:
    """Return room for a batch; parts that are copied into it at once leave theirs to the next."""

    def room(count: int, channels: int, kind: torch.dtype) -> Tensor:
        return torch.empty(batch, count, channels, *size, dtype=kind, device=device)

    steps = frames - 1
    return Sample(
        frames=room(frames, 3, torch.float32),
        forward=room(steps, 2, torch.float32),
        backward=room(steps, 2, torch.float32),
        visible_forward=room(steps, 1, torch.bool),
        visible_backward=room(steps, 1, torch.bool),
        valid=room(steps, 1, torch.bool),
        layers=room(frames, 1, torch.int64),
    )
