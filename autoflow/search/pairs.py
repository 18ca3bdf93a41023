"""The fixed list of a target's frame pairs on which every trial of a search is measured."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from autoflow.search.coverage import covering, motions
from selfflow.frames import FrameCache, PairAddress, find_pairs, pairs_from_json, spread
from selfflow.pairs import Pairs
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_json, write_text
from selfflow.video import Target

SHORTEST = 32  # px; of smaller frames nothing is left where networks and masks look


class PairSettings(Config):
    """Which pairs of a target are measured."""

    count: int = Field(100, ge=1, description="pairs that cover the target")
    gap: int = Field(1, ge=1, description="frames from the first of a pair to the second")
    side: int = Field(384, ge=SHORTEST, description="short side to which frames are reduced, px")


@dataclass(frozen=True)
class TargetPairs:
    """Pairs of whole frames, read and resized when they are needed.

    Attributes:
        target: whose frames.
        covering: the list, in an order in which the first ones, however many, cover the target.
        motions: how far the pixels of each move in the mean, px of the stored list's frames.
        side: short side to which frames are reduced, px.
        caches: of frames, by short side; of these pairs and of others that are some of them.
        device: where batches are made.
    """

    target: Target
    covering: Sequence[PairAddress]
    motions: Mapping[PairAddress, float]
    side: int
    caches: dict[int, FrameCache] = field(default_factory=dict, compare=False)
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.covering)

    @property
    def addresses(self) -> list[PairAddress]:
        """The list by sequence, then by time: the order of batches and measurements."""
        return sorted(self.covering)

    @property
    def cache(self) -> FrameCache:
        """The frames, as they are measured."""
        return self.caches.setdefault(self.side, FrameCache(self.target, self.side))

    @property
    def has_flow(self) -> bool:
        """Whether the flow of at least one of the pairs is known."""
        return any(_known(self.target, address) for address in self.covering)

    @property
    def digest(self) -> str:
        """A short name of the list: two searches of the same one measure the same pairs."""
        text = json.dumps([self.target.name, self.side, self.covering])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """Return target, short side and, in covering order, [sequence, first, second, motion]s."""
        items = [[*address, self.motions[address]] for address in self.covering]
        return {"target": self.target.name, "side": self.side, "pairs": items}

    def at(self, pairs: float, side: float) -> "TargetPairs":
        """Return a cheaper list for a lower rung: the same for every trial, process and host.

        Args:
            pairs: share of the pairs, in (0, 1]; a larger share holds all of a smaller one's, and
                each covers the target as well as so few can. At least one is left.
            side: share of the short side, in (0, 1]; at least the shortest of `PairSettings`.
        """
        if not (0 < pairs <= 1 and 0 < side <= 1):
            raise ValueError(f"shares are above 0 and at most 1, got {pairs:g} and {side:g}")
        count = max(1, round(pairs * len(self)))
        reduced = max(min(SHORTEST, self.side), round(side * self.side))
        return replace(self, covering=self.covering[:count], side=reduced)

    def batches(self, size: int) -> Iterator[Pairs]:
        """Yield all pairs in order, at most `size` in a batch.

        A batch ends where the frames' size changes, or whether their flow is known.
        """
        waiting: list[Pairs] = []
        for address in self.addresses:
            pair = self.cache.load(address, self.device)
            if waiting and (len(waiting) == size or _kind(pair) != _kind(waiting[0])):
                yield _join(waiting)
                waiting = []
            waiting.append(pair)
        yield _join(waiting)


def choose_pairs(
    target: Target,
    settings: PairSettings,
    *,
    seed: int = 0,
    labelled: bool = False,
    device: torch.device | str = "cpu",
) -> TargetPairs:
    """Choose pairs that move and are of one shot and that cover sequences and motion (`covering`).

    Args:
        target: whose frames.
        settings: how many, how far apart, at which size.
        seed: of the choice.
        labelled: only pairs whose flow is known. The self-supervised metric does without, so that
            not even the choice knows of labels.
        device: where batches are made.
    """
    # Twice as many as are wanted, to choose by their motion; some of those looked at are unfit.
    usable = find_pairs(target, settings.gap, limit=4 * settings.count, seed=seed)
    if labelled:
        usable = [address for address in usable if _known(target, address)]
        if not usable:
            raise UserError(f"target {target.name}: no flow is known; --metric aepe needs it")
    candidates = spread(usable, 2 * settings.count, seed)
    cache = FrameCache(target, settings.side)
    moved = dict(zip(candidates, motions(cache, candidates), strict=True))
    chosen = covering(moved, settings.count, seed)
    moved = {address: moved[address] for address in chosen}
    return TargetPairs(target, chosen, moved, settings.side, {settings.side: cache}, device)


def write_pairs(path: Path, pairs: TargetPairs) -> None:
    """Write the list as JSON, a line for each pair; see `TargetPairs.as_json`."""
    content = pairs.as_json()
    lines = ",\n  ".join(json.dumps(item) for item in content.pop("pairs"))
    head = json.dumps(content)[1:-1]
    write_text(path, f'{{{head}, "pairs": [\n  {lines}\n]}}\n')


def read_pairs(path: Path, target: Target, device: torch.device | str = "cpu") -> TargetPairs:
    """Return the stored list; UserError if the file is not one or was made for another target."""
    return pairs_of(read_json(path), str(path), target, device)


def pairs_of(
    content: Any, source: str, target: Target, device: torch.device | str = "cpu"
) -> TargetPairs:
    """Return the list of which `content` is the JSON; UserError, naming `source`, if it is none."""
    try:
        name, side, items = content["target"], int(content["side"]), content["pairs"]
        moved = [float(item[3]) for item in items]
        addresses = [item[:3] for item in items]
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"{source}: not a list of pairs") from None
    if name != target.name:
        raise UserError(f"{source}: made for target {name}, not {target.name}")
    listed = pairs_from_json(addresses, source)
    if not listed:
        raise UserError(f"{source}: lists no pair")
    motions = dict(zip(listed, moved, strict=True))
    return TargetPairs(target, tuple(listed), motions, side, device=device)


def _known(target: Target, address: PairAddress) -> bool:
    adjacent = address.second == address.first + 1
    return adjacent and address.first in target[address.sequence].labelled


def _kind(pair: Pairs) -> tuple[object, ...]:
    return (*pair.image1.shape[-2:], pair.flow is None, pair.visible is None)


def _join(pairs: Sequence[Pairs]) -> Pairs:
    """Return pairs of one kind as one batch."""

    def joined(name: str) -> torch.Tensor | None:
        values = [getattr(pair, name) for pair in pairs]
        return None if values[0] is None else torch.cat(values)

    image1, image2 = (torch.cat([getattr(p, n) for p in pairs]) for n in ("image1", "image2"))
    return Pairs(image1, image2, *(joined(name) for name in ("flow", "valid", "visible")))
