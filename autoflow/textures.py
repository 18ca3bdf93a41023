"""Textures: a bank of square tiles, made once for (hyperparameters, seed), read by every layer.

Procedural tiles are those of `autoflow.patterns`; photographs are cut into tiles likewise. A layer
reads one tile through an affine map and sees it mirrored at its sides, endlessly.

Tiles are always made on the CPU and then moved, so that every device reads the same ones. They
are kept at several levels, each half the size of the one before, side by side in one atlas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Textures
from autoflow.patterns import procedural_tiles
from autoflow.threads import map_in_threads
from selfflow.random import key
from selfflow.runs.errors import UserError

TEXELS = 24 * 512**2  # of a bank's tiles at the finest level, for tiles of 512
FEWEST, MOST = 12, 48  # tiles, procedural ones and as many photographs
AT_ONCE = 6  # tiles that one thread makes together
COLUMNS = 6  # of the atlas
LEVELS = 4  # of detail
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


@dataclass(frozen=True, eq=False)
class PhotographBank:
    """Pictures to cut textures from, each `(H, W, 3)` uint8, in a fixed order."""

    pictures: tuple[np.ndarray, ...]

    @classmethod
    def from_folder(cls, folder: Path, most: int = 2 * MOST) -> "PhotographBank":
        """Read up to `most` pictures, evenly spread over all in `folder` and below, by name.

        Raises:
            UserError: naming the folder without pictures, or the picture that cannot be read.
        """
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise UserError(f"{folder}: no pictures ({', '.join(SUFFIXES)}) in this folder")
        chosen = (
            [paths[i * len(paths) // most] for i in range(most)] if len(paths) > most else paths
        )
        return cls.from_frames([_read_picture(path) for path in chosen])

    @classmethod
    def from_frames(cls, frames: Sequence[np.ndarray]) -> "PhotographBank":
        """Take pictures as they are, such as the frames of a target video."""
        if not frames:
            raise ValueError("a bank of photographs needs at least one picture")
        return cls(tuple(frames))


@dataclass(frozen=True)
class Bank:
    """Tiles in an atlas.

    Attributes:
        atlas: `(1, 3, height, width)` in [0, 1]; the levels below one another.
        procedural: number of procedural tiles; they come first.
        photographs: number of tiles of photographs.
        side: of a tile at the finest level, in texels.
    """

    atlas: Tensor
    procedural: int
    photographs: int
    side: int

    def origin(self, tile: Tensor, level: Tensor) -> Tensor:
        """Return where tiles begin in the atlas, `(*tile.shape, 2)`, x then y, in texels."""
        side = self.side >> level
        rows = -(-(self.procedural + self.photographs) // COLUMNS)
        above = 2 * (self.side - side) * rows
        return torch.stack((tile % COLUMNS * side, above + tile // COLUMNS * side), -1)


def tile_side(frame_side: float) -> int:
    """Return the side of tiles, in texels, that suits frames with the square root of area given."""
    return 2 ** min(max(math.ceil(math.log2(frame_side) - 0.25), 6), 10)


@lru_cache(maxsize=4)
def bank(
    textures: Textures,
    seed: int,
    side: int,
    photographs: PhotographBank | None,
    device: torch.device,
) -> Bank:
    """Return the tiles of a hyperparameter set and seed, on `device`."""
    if device.type != "cpu":
        made = bank(textures, seed, side, photographs, torch.device("cpu"))
        return Bank(made.atlas.to(device), made.procedural, made.photographs, side)
    count = min(max(TEXELS // side**2, FEWEST), MOST)
    draws = Draws(key(seed, torch.arange(count))).child("texture", 2)
    tiles = torch.cat(
        map_in_threads(
            lambda keys: procedural_tiles(Draws(keys), textures, side),
            draws.keys[:, 0].split(AT_ONCE),
            count=torch.get_num_threads(),
        )
    )
    if photographs is not None:
        cuts = photograph_tiles(Draws(draws.keys[:, 1]), photographs, side)
        tiles = torch.cat((tiles, cuts))
    return Bank(_atlas(tiles), count, len(tiles) - count, side)


def photograph_tiles(draws: Draws, photographs: PhotographBank, side: int) -> Tensor:
    """Return one square cut of a photograph a key, `(K, 3, side, side)`, half to all as high."""
    which = draws.integers("photograph", 0, len(photographs.pictures) - 1).tolist()
    shares, places = draws.uniform("cut", low=0.5).tolist(), draws.uniform("place", 2).tolist()
    tiles = []
    for number, share, place in zip(which, shares, places, strict=True):
        picture = photographs.pictures[number]
        length = max(1, round(share * min(picture.shape[:2])))
        top, left = (
            round(p * (n - length)) for p, n in zip(place, picture.shape[:2], strict=False)
        )
        cut = np.ascontiguousarray(picture[top : top + length, left : left + length])
        shrinks = length > side
        cut = cv2.resize(
            cut, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )
        tiles.append(torch.from_numpy(cut).permute(2, 0, 1).float() / 255)
    return torch.stack(tiles)


def _atlas(tiles: Tensor) -> Tensor:
    """Lay tiles `(K, 3, side, side)` out in rows of COLUMNS, the levels of detail below."""
    levels = [tiles]
    while len(levels) < LEVELS:
        # Halving with a triangular filter, (1, 3, 3, 1)/8: what is magnified again stays smooth.
        levels.append(F.interpolate(levels[-1], scale_factor=0.5, mode="bilinear", antialias=True))
    width = COLUMNS * tiles.shape[-1]
    return torch.cat([_rows(level, width) for level in levels], 1)[None].contiguous()


def _rows(tiles: Tensor, width: int) -> Tensor:
    rows = -(-len(tiles) // COLUMNS)
    padded = F.pad(tiles, (0, 0, 0, 0, 0, 0, 0, rows * COLUMNS - len(tiles)))
    side = tiles.shape[-1]
    laid = padded.view(rows, COLUMNS, 3, side, side).permute(2, 0, 3, 1, 4)
    return F.pad(laid.reshape(3, rows * side, COLUMNS * side), (0, width - COLUMNS * side))


def _read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path}: cannot be read as a picture")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
