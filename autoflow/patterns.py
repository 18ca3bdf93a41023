"""Textures made from nothing: dead leaves, noise, stripes and gradients.

Dead leaves are pieces of all sizes, their radii after a power law, one over another (Lee, Mumford
and Huang, IJCV 2001); noise has many octaves; stripes are bent. Colours come from small random
palettes.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Textures
from selfflow.runs.errors import UserError

COLORS = 6  # in a palette
COVERAGE = 5.0  # mean number of dead leaves over a point


def procedural_tiles(draws: Draws, textures: Textures, side: int) -> Tensor:
    """Return one tile a key, `(K, 3, side, side)` in [0, 1]."""
    weights = (textures.leaves, textures.noise, textures.stripes, textures.gradients)
    if not sum(weights):
        raise UserError(
            "textures: at least one of leaves, noise, stripes, gradients must have a weight"
        )
    limits = torch.tensor(weights, dtype=torch.float64).cumsum(0) / sum(weights)
    kind = torch.searchsorted(limits, draws.uniform("kind"), right=True)
    tiles = torch.empty(len(kind), 3, side, side)
    for number, make in enumerate((_leaves, _clouds, _stripes, _gradients)):
        (chosen,) = (kind == number).nonzero(as_tuple=True)
        if len(chosen):
            tiles[chosen] = make(Draws(draws.keys[chosen]), textures, side)
    return tiles.clamp(0, 1)


def octaves(
    draws: Draws,
    name: str,
    side: int,
    *,
    channels: int,
    coarsest: float,
    finest: float,
    roughness: float,
) -> Tensor:
    """Return noise of unit variance, `(K, channels, side, side)`: a sum of octaves.

    Wavelengths go down from `coarsest` to `finest` tiles by halves; each octave's amplitude is
    `roughness` times that of the one before. Equal amplitudes (1) give a 1/f spectrum.
    """
    total = torch.zeros(len(draws.keys), channels, side, side)
    wavelength, amplitude, power = coarsest, 1.0, 0.0
    while wavelength >= max(finest, 2 / side):
        # Nodes lie half a wavelength apart; three more let the spline reach the border.
        count = math.ceil(2 / wavelength) + 3
        nodes = draws.uniform(
            f"{name} {wavelength:.6f}", channels * count * count, low=-1.0
        ).float()
        nodes = nodes.view(-1, channels, count, count)
        total += amplitude * _spline(nodes, side, wavelength / 2)
        power += amplitude**2
        wavelength, amplitude = wavelength / 2, amplitude * roughness
    # Uniform nodes have variance 1/3; a cubic B-spline's reading keeps 0.23 of it on average.
    return total / math.sqrt(max(power, 1e-9) * 0.23 / 3)


def _spline(nodes: Tensor, side: int, spacing: float) -> Tensor:
    """Read cubic B-splines with nodes `(..., n, n)`, `spacing` tiles apart, at side² texels."""
    place = (torch.arange(side) + 0.5) / (side * spacing)
    distance = (place[:, None] + 1 - torch.arange(nodes.shape[-1])).abs()
    inner = 2 / 3 - distance.square() + distance**3 / 2
    basis = torch.where(distance < 1, inner, (2 - distance).clamp(min=0) ** 3 / 6)
    return basis @ nodes @ basis.T


def palettes(draws: Draws, textures: Textures) -> Tensor:
    """Return colours that go together, `(K, COLORS, 3)`: one or two hues, many brightnesses."""
    luma = 0.5 + textures.contrast * 0.2 * draws.normal("luma", COLORS)
    luma = luma + 0.08 * draws.normal("palette luma")[..., None]
    hue = draws.uniform("hue")[..., None] + 0.08 * draws.normal("hues", COLORS)
    hue = hue + 0.5 * draws.chance("second hue", 0.3, COLORS)
    chroma = textures.saturation * 0.22 * draws.normal("chroma", COLORS).abs()
    phase = 2 * math.pi * (hue[..., None] + torch.tensor((0, 1 / 3, 2 / 3), dtype=torch.float64))
    return (luma[..., None] + chroma[..., None] * phase.cos()).float()


def _through_palette(values: Tensor, colors: Tensor) -> Tensor:
    """Colour values `(K, H, W)` in [0, 1] by a smooth run through palettes `(K, COLORS, 3)`."""
    place = values.clamp(0, 1) * (COLORS - 1.001)
    low = place.floor().long()
    row = low + COLORS * torch.arange(len(values))[:, None, None]
    flat = colors.flatten(0, 1)
    return torch.lerp(flat[row], flat[row + 1], (place - low)[..., None]).permute(0, 3, 1, 2)


def _detail(draws: Draws, name: str, textures: Textures, side: int, channels: int) -> Tensor:
    return octaves(
        draws,
        name,
        side,
        channels=channels,
        coarsest=textures.coarsest,
        finest=textures.finest,
        roughness=textures.roughness,
    )


def _clouds(draws: Draws, textures: Textures, side: int) -> Tensor:
    shape, shade = _detail(draws, "clouds", textures, side, 2).unbind(1)
    colored = _through_palette(0.5 + 0.22 * shape, palettes(draws, textures))
    return colored + 0.1 * textures.contrast * shade[:, None]


def _gradients(draws: Draws, textures: Textures, side: int) -> Tensor:
    slow = octaves(draws, "slow", side, channels=1, coarsest=2.0, finest=1.0, roughness=1.0)[:, 0]
    fine = _detail(draws, "fine", textures, side, 1)
    colored = _through_palette(0.5 + 0.25 * slow, palettes(draws, textures))
    return colored + 0.04 * textures.contrast * fine


def _stripes(draws: Draws, textures: Textures, side: int) -> Tensor:
    """Bent waves in one or two directions, smooth or with hard edges, over a little noise."""
    bent, fine = _detail(draws, "bent", textures, side, 2).unbind(1)
    slow = octaves(draws, "bend", side, channels=1, coarsest=1.0, finest=0.4, roughness=0.5)[:, 0]
    wavelength = draws.log_uniform("wavelength", 2 * textures.finest, textures.coarsest)
    wavelength = wavelength.clamp(min=4 / side).float()[:, None, None]
    angle = draws.uniform("angle").float()[:, None, None] * 2 * math.pi
    place = (torch.arange(side) + 0.5) / side
    x, y = place[None, None, :], place[None, :, None]
    bend = draws.uniform("bending", high=0.08).float()[:, None, None] * slow
    along = (x * angle.cos() + y * angle.sin() + bend) / wavelength
    across = (y * angle.cos() - x * angle.sin() + bend) / wavelength
    wave = (2 * math.pi * along).sin()
    checks = draws.chance("checks", 0.4)[:, None, None]
    wave = torch.where(checks, wave * (2 * math.pi * across).sin(), wave)
    # Hard edges stay a texel and a half wide, so that they are not jagged.
    sharpness = draws.log_uniform("sharpness", 0.7, 12.0).float()[:, None, None]
    sharpness = torch.minimum(sharpness, wavelength * side / 10 + 0.7)
    wave = (wave * sharpness).clamp(-1, 1)
    colored = _through_palette(0.5 + 0.45 * wave + 0.04 * bent, palettes(draws, textures))
    return colored + 0.06 * textures.contrast * fine[:, None]


def _leaves(draws: Draws, textures: Textures, side: int) -> Tensor:
    """Dead leaves, each with a colour, a gradient and a grain of its own.

    Colours vary smoothly over the tile and less smoothly from leaf to leaf, as in scenes, where
    neighbours are often parts of the same thing.
    """
    labels = torch.stack([_leaf_labels(Draws(one), textures, side) for one in draws.keys])
    count = int(labels.max()) + 1
    leaf = draws.child("leaf", count)
    where = (leaf.uniform("place", 2) * side).long()
    slow = octaves(draws, "region", side, channels=1, coarsest=0.8, finest=0.2, roughness=0.8)
    region = slow.flatten(1).gather(1, where[..., 1] * side + where[..., 0])
    run = 0.5 + 0.25 * region + 0.13 * leaf.normal("run").float()
    colors = _through_palette(run[:, None], palettes(draws, textures))[:, :, 0].transpose(1, 2)
    colors = colors + 0.07 * textures.contrast * leaf.normal("shade")[..., None].float()
    colors = colors + 0.03 * textures.saturation * leaf.normal("tint", 3).float()
    slope = 0.6 * textures.contrast * leaf.normal("slope", 2).float()
    grain = textures.grain * 0.25 * leaf.uniform("grain").square().float()[..., None]
    table = torch.cat((colors, slope, grain), -1).flatten(0, 1)
    row = labels + count * torch.arange(len(labels))[:, None, None]
    color, slope, grain = table[row].permute(0, 3, 1, 2).split((3, 2, 1), 1)
    noise, light = _detail(draws, "grain", textures, side, 2).split(1, 1)
    place = (torch.arange(side) + 0.5) / side - 0.5
    shade = slope[:, :1] * place + slope[:, 1:] * place[:, None] + grain * noise
    return _smooth(color + shade + 0.05 * textures.contrast * light)


def _leaf_labels(draws: Draws, textures: Textures, side: int) -> Tensor:
    """Return which leaf is seen at each texel of one tile, `(side, side)` int64.

    Radii r have density r⁻³ between a smallest one and half the coarsest detail: each octave of
    sizes covers the same area. The smallest is half the finest detail (at least 1.5 texels) or, in
    equal shares of the tiles, up to five octaves more.
    """
    small = max(textures.finest / 2, 1.5 / side) * 2 ** (5 * float(draws.uniform("smallest", 1)))
    large = max(textures.coarsest / 2, 1.5 * small)
    per_leaf = 2 * math.pi * math.log(large / small) / (small**-2 - large**-2)
    count = math.ceil(0.8 * COVERAGE / per_leaf)
    leaf = draws.child("leaf", count)
    radius = (small**-2 + leaf.uniform("radius") * (large**-2 - small**-2)) ** -0.5
    corners, turn = leaf.integers("corners", 3, 9), 2 * math.pi * leaf.uniform("turn")
    corners = torch.where(corners > 6, 12, corners)  # round ones
    number = torch.arange(12)
    angle = 2 * math.pi * torch.minimum(number, corners[:, None] - 1) / corners[:, None]
    ratio = (0.35 * leaf.normal("ratio")).exp().sqrt()
    x, y = (radius * ratio)[:, None] * angle.cos(), (radius / ratio)[:, None] * angle.sin()
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    place = leaf.uniform("place", 2)
    points = torch.stack((x * cos - y * sin + place[:, :1], x * sin + y * cos + place[:, 1:]), -1)
    outline = (points * (side * 16)).round().int().numpy()
    labels = np.zeros((side, side), np.int32)
    for order, polygon in enumerate(outline):
        cv2.fillConvexPoly(labels, polygon, order, lineType=cv2.LINE_8, shift=4)
    return torch.from_numpy(labels).long()


def _smooth(tiles: Tensor) -> Tensor:
    """Blur by the binomial kernel (1, 2, 1)/4 both ways, borders mirrored."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(tiles, (1, 1, 1, 1), mode="reflect"), 2, 1), 2, 1)
