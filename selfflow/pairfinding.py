"""Which pairs of a target's frames are worth learning from."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from selfflow.random import key, purpose, uniform
from selfflow.runs.errors import UserError
from selfflow.runs.progress import Bar, progress
from selfflow.sequences import Sequence as FrameSequence
from selfflow.shots import Likeness, Thumbnail, cuts, is_static, likeness, thumbnail
from selfflow.video import Target


class PairAddress(NamedTuple):
    """Where a pair of frames is found: sequence, first and second frame. A list in JSON."""

    sequence: str
    first: int
    second: int


def pairs_from_json(items: object, source: str) -> list[PairAddress]:
    """Return the addresses of a list of [sequence, first, second]; UserError naming `source`."""
    try:
        assert isinstance(items, list)
        return [PairAddress(str(name), int(first), int(second)) for name, first, second in items]
    except (AssertionError, TypeError, ValueError):
        raise UserError(f"{source}: not a list of [sequence, first, second]") from None


Gap = int | Sequence[int] | Callable[[FrameSequence], Sequence[int]]


def find_pairs(
    target: Target,
    gap: Gap = 1,
    *,
    skip_static: bool = True,
    skip_cuts: bool = True,
    limit: int | None = None,
    seed: int = 0,
) -> list[PairAddress]:
    """Return the usable pairs of a target, by sequence, then by time.

    Every pair is looked at (see `selfflow.shots`), one frame after the other.

    Args:
        target: where the frames are.
        gap: how many frames lie between the first and the second, plus one; or several such gaps;
            or a function that returns those of a sequence, which may be none.
        skip_static: leave out pairs between which nothing moves.
        skip_cuts: leave out pairs of different shots.
        limit: look at no more than so many pairs, spread over the target (`spread`); where there
            are more sequences than that, only so many are opened.
        seed: which ones, with `limit`.

    Raises:
        UserError: no pair is left, a gap is less than 1, or frames cannot be read.
    """
    sequences: Sequence[FrameSequence] = target.sequences
    if limit is not None and limit < len(sequences):
        sequences = [sequences[place] for place in _evenly(len(sequences), limit, 0.5)]
    pairs: list[PairAddress] = []
    used: set[int] = set()
    for sequence in sequences:
        gaps = _gaps(gap, sequence)
        used.update(gaps)
        pairs += [
            PairAddress(sequence.name, first, first + step)
            for first in range(len(sequence))
            for step in gaps
            if first + step < len(sequence)
        ]
    if limit is not None:
        pairs = spread(pairs, limit, seed)
    looked_at = skip_static or skip_cuts
    found = list(usable(target, pairs, skip_static, skip_cuts)) if looked_at else pairs
    if not found:
        apart = f" {' or '.join(map(str, sorted(used)))} apart" if used else ""
        reason = f"all {len(pairs)} are static or shot cuts" if pairs else "too short or too slow"
        raise UserError(f"target {target.name}: no pair of frames{apart} ({reason})")
    return found


def _gaps(gap: Gap, sequence: FrameSequence) -> list[int]:
    """Return the gaps of a sequence, in order; only a function may say that there are none."""
    own = gap(sequence) if callable(gap) else gap
    gaps = sorted({own} if isinstance(own, int) else set(own))
    if (not gaps and not callable(gap)) or (gaps and gaps[0] < 1):
        raise UserError(f"a gap between frames is at least 1, got {own}")
    return gaps


def usable(
    target: Target,
    pairs: Sequence[PairAddress],
    skip_static: bool = True,
    skip_cuts: bool = True,
) -> Iterator[PairAddress]:
    """Yield the pairs that are neither static nor cuts, as far as asked."""
    by_sequence = _by_sequence(pairs)
    total = sum(len(_frames(own)) for own in by_sequence.values())
    with progress(f"pairs of {target.name}", total) as bar:
        for name, own in by_sequence.items():
            refused: set[PairAddress] = set()
            alike: dict[int, dict[PairAddress, Likeness]] = defaultdict(dict)
            for pair, first, second in _compared(target[name], own, bar):
                if skip_static and is_static(first, second):
                    refused.add(pair)
                elif skip_cuts:
                    alike[pair.second - pair.first][pair] = likeness(first, second)
            for equally_far in alike.values():
                found = cuts(list(equally_far.values()))
                refused.update(pair for pair, cut in zip(equally_far, found, strict=True) if cut)
            yield from (pair for pair in own if pair not in refused)


def _frames(pairs: Iterable[PairAddress]) -> list[int]:
    """Return the frames of the pairs, in the order of time."""
    return sorted({index for pair in pairs for index in pair[1:]})


def _compared(
    sequence: FrameSequence, pairs: Sequence[PairAddress], bar: Bar
) -> Iterator[tuple[PairAddress, Thumbnail, Thumbnail]]:
    """Yield each pair with its small frames, reading every frame once and forgetting it soon."""
    ending = defaultdict(list)
    for pair in pairs:
        ending[pair.second].append(pair)
    furthest = max(pair.second - pair.first for pair in pairs)
    seen: dict[int, Thumbnail] = {}
    for index in _frames(pairs):
        seen = {at: small for at, small in seen.items() if at >= index - furthest}
        seen[index] = thumbnail(sequence.frame(index))
        for pair in ending[index]:
            yield pair, seen[pair.first], seen[index]
        bar.advance()


def spread(pairs: Sequence[PairAddress], count: int, seed: int = 0) -> list[PairAddress]:
    """Return `count` of the pairs, spread evenly over sequences and, within each, over time.

    All sequences give the same number, as far as they have it; if there are more sequences than
    `count`, an even choice of them gives one pair each. The seed shifts the choice. The order of
    the pairs is kept; all are returned if there are no more than `count`.
    """
    if count < 1:
        raise ValueError(f"at least one pair is needed, got a count of {count}")
    if count >= len(pairs):
        return list(pairs)
    groups = list(_by_sequence(pairs).values())
    keys = purpose(key(seed, torch.arange(len(groups) + 1)), "spread")
    offsets = uniform(keys, 1)[:, 0].tolist()
    shares = _shares([len(group) for group in groups], count, offsets[-1])
    chosen: set[PairAddress] = set()
    for group, share, offset in zip(groups, shares, offsets, strict=False):
        chosen.update(group[place] for place in _evenly(len(group), share, offset))
    return [pair for pair in pairs if pair in chosen]


def _by_sequence(pairs: Iterable[PairAddress]) -> dict[str, list[PairAddress]]:
    groups: dict[str, list[PairAddress]] = defaultdict(list)
    for pair in pairs:
        groups[pair.sequence].append(pair)
    return groups


def _evenly(length: int, count: int, offset: float) -> list[int]:
    """Return `count` of `length` places, evenly spaced, shifted by `offset` in [0, 1)."""
    return [int((number + offset) * length / count) for number in range(count)]


def _shares(available: Sequence[int], count: int, offset: float) -> list[int]:
    """Divide `count` among groups as evenly as what they have allows."""
    shares = [0] * len(available)
    while left := count - sum(shares):
        open_groups = [n for n, size in enumerate(available) if shares[n] < size]
        if left < len(open_groups):
            for place in _evenly(len(open_groups), left, offset):
                shares[open_groups[place]] += 1
        else:
            each = left // len(open_groups)
            for n in open_groups:
                shares[n] += min(each, available[n] - shares[n])
    return shares
