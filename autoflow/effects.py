"""What a camera and a recording do to whole frames: fog, exposure, noise, JPEG.

None of these changes flow. Each concerns a share of the samples; the others are left alone and
cost nothing.
"""

import itertools
import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Effects
from selfflow.random import key

NORMALS = 2**20  # different numbers in noise


def apply_effects(frames: Tensor, effects: Effects, keys: Tensor) -> Tensor:
    """Return clips `(B, N, 3, H, W)` with effects, in [0, 1], for samples with keys `(B,)`."""
    draws = Draws(keys)
    for name, probability, effect in (
        ("fog", effects.fog, fog),
        ("exposure", effects.exposure, exposure),
        ("noise", effects.noise, noise),
        ("jpeg", effects.jpeg, jpeg),
    ):
        (chosen,) = draws.chance(name, probability).nonzero(as_tuple=True)
        if len(chosen) == len(frames):
            frames = effect(frames, effects, draws).clamp_(0, 1)
        elif len(chosen):
            changed = effect(frames[chosen], effects, Draws(keys[chosen])).clamp_(0, 1)
            frames = frames.index_copy(0, chosen, changed)
    return frames


def fog(frames: Tensor, effects: Effects, draws: Draws) -> Tensor:
    """Mix in a pale colour by a cloudy density that drifts between the frames."""
    batch, count, _, height, width = frames.shape
    density = effects.fog_density * draws.uniform("fog density", low=0.3)
    evenness = draws.uniform("fog evenness")
    coarse = F.interpolate(draws.uniform("fog coarse", 1, 6, 6), (24, 24), mode="bicubic")
    cloud = 0.65 * coarse + 0.35 * draws.uniform("fog fine", 1, 24, 24)
    drift = 0.1 * draws.signed("fog drift", 2)
    time = torch.arange(count, device=frames.device)
    drifted = (drift[:, None] * time[:, None]).float()[..., None]
    columns, rows = (
        _bicubic(torch.linspace(-0.8, 0.8, length, device=frames.device) + drifted[:, :, axis], 24)
        for axis, length in enumerate((width, height))
    )
    read = (rows @ cloud.float() @ columns.mT)[:, :, None]
    thickness = torch.lerp(
        1.6 * read - 0.3, torch.ones_like(read), evenness.float().view(-1, 1, 1, 1, 1)
    )
    share = (density.float().view(-1, 1, 1, 1, 1) * thickness).clamp(0, 1)
    pale = draws.uniform("fog brightness", 1, low=0.5) + 0.06 * draws.signed("fog color", 3)
    return torch.lerp(frames, pale.float().view(batch, 1, 3, 1, 1), share)


def _bicubic(places: Tensor, count: int) -> Tensor:
    """Return the weights `(*places.shape, count)` of nodes at places -1 (first) to 1 (last).

    Keys's cubic convolution with a = -3/4; nodes beyond the ends are 0.
    """
    node = torch.arange(count, device=places.device)
    distance = ((places[..., None] + 1) / 2 * (count - 1) - node).abs()
    near = (1.25 * distance - 2.25) * distance.square() + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


def exposure(frames: Tensor, effects: Effects, draws: Draws) -> Tensor:
    """Change brightness, contrast, gamma and the channels' gains, steadily over the clip."""
    count = frames.shape[1]
    time = torch.arange(count, device=frames.device)

    def course(name: str, strength: float, channels: int = 1) -> Tensor:
        start, change = (strength * draws.normal(name, 2, channels)).unbind(1)
        values = start[:, None] + change[:, None] * time[:, None]
        return values.float()[..., None, None]

    gamma = course("gamma", effects.gamma).exp()
    gain = (course("contrast", effects.contrast) + course("color", effects.color, 3)).exp()
    offset = course("brightness", effects.brightness)
    # Contrast turns about middle grey.
    return frames.clamp(0, 1).pow_(gamma).sub_(0.5).mul_(gain).add_(offset + 0.5)


def noise(frames: Tensor, effects: Effects, draws: Draws) -> Tensor:
    """Add Gaussian noise, independent by pixel, channel and frame."""
    batch, count = frames.shape[:2]
    table = _normal_table(frames.device, math.prod(frames.shape[2:]))
    level = (effects.noise_level * draws.uniform("noise level")).float().tolist()
    start = (draws.child("noise", count).bits("start") & (NORMALS - 1)).tolist()
    noisy = torch.empty_like(frames)
    for b, t in itertools.product(range(batch), range(count)):
        added = table[start[b][t] :][: frames[b, t].numel()].view(frames.shape[2:])
        torch.add(frames[b, t], added, alpha=level[b], out=noisy[b, t])
    return noisy


@lru_cache(maxsize=4)
def _normal_table(device: torch.device, length: int) -> Tensor:
    """Return NORMALS normal numbers, again and again, so that `length` follow any of them.

    Every frame reads at a place of its own. Drawing them anew for each frame would take longer
    than all the rest of rendering.
    """
    return _normals(device).repeat(2 + length // NORMALS)[: NORMALS + length]


@lru_cache(maxsize=2)
def _normals(device: torch.device) -> Tensor:
    draws = Draws(key(0, torch.zeros(1, dtype=torch.int64)))
    return draws.normal("noise", NORMALS)[0].float().to(device)


def jpeg(frames: Tensor, effects: Effects, draws: Draws) -> Tensor:
    """Compress as JPEG does: YCbCr, halved chroma, 8x8 cosine transform, quantisation."""
    low, high = effects.jpeg_quality
    quality = draws.uniform("quality", low=low, high=high).float()
    quality = quality.repeat_interleave(frames.shape[1])
    return compress(frames.flatten(0, 1), quality).view(frames.shape)


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """Return images `(B, 3, H, W)` after JPEG compression of `quality` `(B,)`, 1 to 100.

    ITU T.81's example tables (annex K), scaled with quality as the Independent JPEG Group does.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    forward, backward = _color_matrices(images.device)
    colors = torch.einsum("ij,bjhw->bihw", forward, padded * 255)
    luma, chroma = colors[:, :1] - 128, F.avg_pool2d(colors[:, 1:], 2)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None]
    tables = [(table * scale).round().clamp(1, 255) for table in _tables(images.device)]
    luma, chroma = _quantise(luma, tables[0]) + 128, _quantise(chroma, tables[1])
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    restored = torch.einsum("ij,bjhw->bihw", backward, torch.cat((luma, chroma), 1)) / 255
    return restored[..., :height, :width].clamp(0, 1)


def _quantise(planes: Tensor, table: Tensor) -> Tensor:
    """Round the 8x8 cosine coefficients of planes `(B, C, H, W)` to multiples of `(B, 8, 8)`."""
    cosines = _cosines(planes.device)
    blocks = planes.unfold(2, 8, 8).unfold(3, 8, 8)
    step = table[:, None, None, None]
    rounded = (cosines @ blocks @ cosines.T / step).round() * step
    return (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(planes.shape)


@lru_cache(maxsize=2)
def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal 8-point cosine transform, `(8, 8)`."""
    k, n = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    matrix = 0.5 * torch.cos(math.pi * (2 * n + 1) * k / 16)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)


@lru_cache(maxsize=2)
def _color_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return RGB to YCbCr (ITU-R BT.601, full range, chroma about zero) and back."""
    luma = torch.tensor((0.299, 0.587, 0.114), dtype=torch.float64)
    blue = (torch.tensor((0.0, 0.0, 1.0)) - luma) / (2 * (1 - luma[2]))
    red = (torch.tensor((1.0, 0.0, 0.0)) - luma) / (2 * (1 - luma[0]))
    forward = torch.stack((luma, blue, red))
    return forward.float().to(device), torch.linalg.inv(forward).float().to(device)


@lru_cache(maxsize=2)
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the quantisation tables of luma and chroma at quality 50, `(8, 8)`."""
    luma = torch.tensor(
        (
            (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
            (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
            (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
            (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
        )
    )  # fmt: skip
    chroma = torch.full((8, 8), 99)
    chroma[:4, :4] = torch.tensor(
        ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
    )
    return luma.float().to(device), chroma.float().to(device)
