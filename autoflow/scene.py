"""A scene: a background and foreground layers, each a texture, a mask and a motion.

Frame positions are in frame sides (square root of the frame's area) from the frame's centre. Layer
0 is the background, whose box [-1, 1]² is the frame at time 0; it has no edge. It is the ground on
which the others move, see `autoflow.motion`. Layer l lies in front of layer l - 1.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Effects, Hyperparameters, Textures
from autoflow.motion import Motions, bilinear_coefficients, draw_motions, lattice, steepness
from autoflow.shapes import boxes, distance_maps, draw_outlines
from autoflow.textures import LEVELS, Bank, PhotographBank, bank, tile_side
from selfflow.random import key

FINEST_MAP, COARSEST_MAP = 160, 32  # nodes along each axis of a layer's distance map
DETAIL = math.log2(1.4)  # octaves by which texels may be finer than pixels


@dataclass(frozen=True)
class Scenes:
    """`B` scenes of `L` layers for clips of `frames` frames.

    Attributes:
        height, width, frames: size of the clips.
        motions: see `autoflow.motion`.
        lattices: displacement tables, `(8, B, L, cells)`, see `autoflow.motion.lattice`.
        steepness: bounds on the displacements' Lipschitz constants, `(B, L)`.
        present: which layers exist, `(B, L)` bool.
        maps: distance maps' bilinear coefficients, `(4, B, L, cells)`; the background's are not
            used.
        map_cells: cells of a map along each axis.
        map_reach: half sides of the area that a map covers, `(B, L, 2)` in layer coordinates.
        map_slopes: the largest slopes of a map along x and y, `(B, L, 2)`, per layer coordinate.
        softness: width of the edges' transition, `(B, L)` frame sides; a pixel at least.
        shadow: darkness, offset x and y along the ground, width of transition, `(B, L, 4)`.
        to_texels: affine maps from layer coordinates to texels of the layer's tile, `(B, L, 2, 3)`.
        tiles: corner of the tile in the atlas, x and y, and its side, `(B, L, 3)` texels.
        colors: affine maps of RGB, `(B, L, 3, 4)`.
        shutter: time of exposure, `(B,)` frame steps; 0 without motion blur.
        bank: the textures.
    """

    height: int
    width: int
    frames: int
    motions: Motions
    lattices: Tensor
    steepness: Tensor
    present: Tensor
    maps: Tensor
    map_cells: int
    map_reach: Tensor
    map_slopes: Tensor
    softness: Tensor
    shadow: Tensor
    to_texels: Tensor
    tiles: Tensor
    colors: Tensor
    shutter: Tensor
    bank: Bank

    @property
    def side(self) -> float:
        """The frame side in pixels."""
        return math.sqrt(self.height * self.width)

    @property
    def layers(self) -> int:
        """Number of layers, the background and absent ones included."""
        return self.present.shape[1]

    def split(self, size: int) -> list["Scenes"]:
        """Return the scenes in parts of `size`, the last one perhaps smaller."""
        return [
            self._part(slice(start, start + size)) for start in range(0, len(self.present), size)
        ]

    def _part(self, chosen: slice) -> "Scenes":
        motions = Motions(**{name: value[chosen] for name, value in vars(self.motions).items()})
        tables = {
            name: getattr(self, name)[:, chosen].contiguous() for name in ("lattices", "maps")
        }
        names = (
            "steepness",
            "present",
            "map_reach",
            "map_slopes",
            "softness",
            "shadow",
            "to_texels",
            "tiles",
            "colors",
            "shutter",
        )
        rest = {name: getattr(self, name)[chosen] for name in names}
        return replace(self, motions=motions, **tables, **rest)


def draw_scenes(
    hyperparameters: Hyperparameters,
    seed: int,
    indices: Tensor,
    size: tuple[int, int],
    frames: int,
    photographs: PhotographBank | None = None,
) -> Scenes:
    """Draw the scenes number `indices` `(B,)` of a stream, on the device of `indices`."""
    height, width = size
    side = math.sqrt(height * width)
    layers, effects = hyperparameters.layers, hyperparameters.effects
    draws = Draws(key(seed, indices))
    count = draws.integers("layers", *layers.count)
    foreground = draws.child("foreground", layers.count[1])
    background = draws.child("background", 1)
    every = Draws(torch.cat((background.keys, foreground.keys), 1))

    softness, defocus = _edges(every, effects, side)
    shadow = _shadows(every, effects, side)
    outlines = draw_outlines(foreground, hyperparameters.shapes, layers)
    margin = torch.maximum(softness, shadow[..., 3])[:, 1:] / 2 + 1 / side
    centre, extent = boxes(outlines)
    nodes = round(min(max(side * 0.32, COARSEST_MAP), FINEST_MAP) / 16) * 16
    maps = distance_maps(outlines, centre, extent, margin, nodes)

    half_frame = torch.tensor((width, height), device=extent.device) / (2 * side)
    place = layers.reach * half_frame * foreground.signed("place", 2)
    frame_extent = half_frame.double().expand(len(indices), 1, 2)
    still = torch.zeros_like(frame_extent)
    motions = _join(
        draw_motions(background, hyperparameters.background, still, frame_extent, frames),
        draw_motions(foreground, hyperparameters.foreground, place, extent, frames),
    )
    textures = hyperparameters.textures
    tiles = bank(textures, seed, tile_side(side), photographs, indices.device)
    to_texels, corners = _place_textures(every, textures, tiles, motions.extent, defocus, side)
    number = torch.arange(layers.count[1] + 1, device=indices.device)
    reach = F.pad(1 + margin[..., None] / extent, (0, 0, 1, 0), value=1.0).float()
    return Scenes(
        height=height,
        width=width,
        frames=frames,
        motions=motions,
        lattices=lattice(motions.controls).float(),
        steepness=steepness(motions.controls).float(),
        present=number <= count[:, None],
        maps=_coefficients(maps),
        map_cells=nodes - 1,
        map_reach=reach,
        map_slopes=_slopes(maps) * ((nodes - 1) / 2) / reach,
        softness=softness.float(),
        shadow=shadow.float(),
        to_texels=to_texels.float(),
        tiles=corners.float(),
        colors=_colors(every, textures).float(),
        shutter=_shutter(draws, effects).float(),
        bank=tiles,
    )


def _edges(draws: Draws, effects: Effects, side: float) -> tuple[Tensor, Tensor]:
    """Return the width of edges and the blur of textures, both in frame sides, `(B, L)`."""
    soft = draws.chance("soft edge", effects.soft_edges) * draws.uniform("softness")
    blurred = draws.chance("defocus", effects.defocus) * draws.uniform("defocus radius")
    radius = effects.defocus_radius * blurred
    width = torch.maximum(effects.softness * soft, 2 * radius)
    return width.clamp(min=1 / side), radius


def _shadows(draws: Draws, effects: Effects, side: float) -> Tensor:
    casts = draws.chance("shadow", effects.shadows)
    darkness = casts * effects.shadow_darkness * draws.uniform("darkness", low=0.4)
    angle = 2 * math.pi * draws.uniform("shadow angle")
    length = effects.shadow_offset * draws.uniform("shadow length", low=0.2)
    width = casts * length * draws.uniform("shadow width", low=0.2)
    offset = (length * angle.cos(), length * angle.sin())
    return torch.stack((darkness, *offset, width.clamp(min=1 / side)), -1)


def _shutter(draws: Draws, effects: Effects) -> Tensor:
    blurred = draws.chance("motion blur", effects.motion_blur)
    return effects.shutter * blurred * draws.uniform("shutter", low=0.3)


def _place_textures(
    draws: Draws, textures: Textures, tiles: Bank, extent: Tensor, defocus: Tensor, side: float
) -> tuple[Tensor, Tensor]:
    """Return affine maps to texels `(B, L, 2, 3)`, and corners and sides of tiles `(B, L, 3)`."""
    zoom = draws.log_uniform("zoom", *textures.zoom)
    finest = torch.log2(tiles.side / (zoom * side))
    blur = torch.log2((2 * defocus * tiles.side / zoom).clamp(min=1))
    level = torch.maximum(finest - DETAIL, blur).ceil().clamp(0, LEVELS - 1).long()

    tile = draws.integers("tile", 0, tiles.procedural - 1)
    if tiles.photographs:
        photograph = tiles.procedural + draws.integers("photograph", 0, tiles.photographs - 1)
        tile = torch.where(draws.chance("photographs", textures.photographs), photograph, tile)
    scale = tiles.side / (2.0**level * zoom)
    limit = torch.full_like(zoom, textures.rotation)
    limit[:, 0] = textures.background_rotation
    angle = math.pi / 180 * limit * draws.signed("texture rotation")
    mirror = 1 - 2 * draws.chance("mirror", 0.5).double()
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack(
        (torch.stack((mirror * cos, -sin), -1), torch.stack((mirror * sin, cos), -1)), -2
    )
    rows = rows * extent[..., None, :]
    tile_texels = tiles.side / 2.0**level
    # The layer lies inside of its tile where it fits; else it is centred, and its rims mirrored.
    spare = (1 - 2 * extent.norm(dim=-1) / zoom).clamp(min=0)[..., None]
    offset = tile_texels[..., None] * (0.5 + 0.5 * spare * draws.signed("texture place", 2))
    corners = torch.cat((tiles.origin(tile, level).double(), tile_texels[..., None]), -1)
    return torch.cat((rows, offset[..., None]), -1), corners


def _colors(draws: Draws, textures: Textures) -> Tensor:
    """Return changes of hue, saturation, contrast and brightness as maps of RGB, `(B, L, 3, 4)`."""
    angle = 2 * math.pi * textures.hue * draws.signed("hue")
    saturation = 1 + textures.layer_saturation * draws.signed("saturation")
    contrast = 1 + textures.layer_contrast * draws.signed("contrast")
    brightness = textures.layer_brightness * draws.signed("brightness")
    # Turning about the grey axis: grey · I/3 + cos · (what is not grey) + sin · (cross product).
    like = angle
    grey = torch.full((3, 3), 1 / 3, device=like.device, dtype=like.dtype)
    rest = torch.eye(3, device=like.device, dtype=like.dtype) - grey
    cross = torch.tensor(((0.0, -1, 1), (1, 0, -1), (-1, 1, 0)), device=like.device) / math.sqrt(3)
    cos, sin = (saturation * part for part in (angle.cos(), angle.sin()))
    turned = grey + cos[..., None, None] * rest + sin[..., None, None] * cross
    matrix = contrast[..., None, None] * turned
    offset = (0.5 - 0.5 * contrast + brightness)[..., None, None].expand(*angle.shape, 3, 1)
    return torch.cat((matrix, offset), -1)


def _slopes(maps: Tensor) -> Tensor:
    """Return the largest steps along x and y from node to node of maps, 0 for layer 0."""
    steps = (maps.diff(dim=axis).abs().amax((-2, -1)) for axis in (-1, -2))
    return F.pad(torch.stack(tuple(steps), -1), (0, 0, 1, 0))


def _coefficients(maps: Tensor) -> Tensor:
    """Return the bilinear coefficients of maps `(B, F, n, n)`, with an empty one for layer 0."""
    return bilinear_coefficients(F.pad(maps, (0, 0, 0, 0, 1, 0))).flatten(-2)


def _join(background: Motions, foreground: Motions) -> Motions:
    fields = vars(background)
    return Motions(**{n: torch.cat((fields[n], getattr(foreground, n)), 1) for n in fields})
