"""The fixed list of a target's frame pairs on which every trial of a search is measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field

from selfflow.frames import FrameCache, PairAddress, find_pairs, pairs_from_json, spread
from selfflow.pairs import Pairs
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_json, write_text
from selfflow.video import Target


class PairSettings(Config):
    """Which pairs of a target are measured."""

    count: int = Field(100, ge=1, description="pairs, spread over the target")
    gap: int = Field(1, ge=1, description="frames from the first of a pair to the second")
    side: int = Field(384, ge=32, description="short side to which frames are reduced, px")


@dataclass(frozen=True)
class TargetPairs:
    """Pairs of whole frames, read and resized when they are needed.

    Attributes:
        target: whose frames.
        addresses: the list.
        side: short side of the frames in pixels.
        device: where batches are made.
    """

    target: str
    addresses: Sequence[PairAddress]
    side: int
    cache: FrameCache
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def has_flow(self) -> bool:
        """Whether the flow of at least one of the pairs is known."""
        return any(_known(self.cache.target, address) for address in self.addresses)

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
    """Choose pairs that move and are of one shot, spread over the sequences and over time.

    Args:
        target: whose frames.
        settings: how many, how far apart, at which size.
        seed: of the choice.
        labelled: only pairs whose flow is known. The self-supervised metric does without, so that
            not even the choice knows of labels.
        device: where batches are made.
    """
    addresses = find_pairs(target, settings.gap, limit=4 * settings.count, seed=seed)
    if labelled:
        addresses = [address for address in addresses if _known(target, address)]
        if not addresses:
            raise UserError(f"target {target.name}: no flow is known; --metric aepe needs it")
    chosen = spread(addresses, settings.count, seed)
    return _open(target, chosen, settings.side, device)


def write_pairs(path: Path, pairs: TargetPairs) -> None:
    """Write the list as JSON: target, short side and [sequence, first frame, second frame]s."""
    content = {"target": pairs.target, "side": pairs.side}
    lines = ",\n  ".join(json.dumps(list(address)) for address in pairs.addresses)
    head = json.dumps(content)[1:-1]
    write_text(path, f'{{{head}, "pairs": [\n  {lines}\n]}}\n')


def read_pairs(path: Path, target: Target, device: torch.device | str = "cpu") -> TargetPairs:
    """Return the stored list; UserError if the file is not one or was made for another target."""
    content = read_json(path)
    try:
        name, side, items = content["target"], int(content["side"]), content["pairs"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a list of pairs") from None
    if name != target.name:
        raise UserError(f"{path}: made for target {name}, not {target.name}")
    return _open(target, pairs_from_json(items, str(path)), side, device)


def _open(
    target: Target, addresses: Sequence[PairAddress], side: int, device: torch.device | str
) -> TargetPairs:
    return TargetPairs(target.name, tuple(addresses), side, FrameCache(target, side), device)


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
