"""Labelled batches mixed by weights from several data sets, dense and sparse ground truth together.

Augmentation is RAFT's (Teed and Deng, ECCV 2020), by data set: frames are mirrored, zoomed and
stretched, not turned, and nothing moves frame 2 relative to frame 1. Labels are interpolated only
among four known neighbours of much the same motion; elsewhere a crop's pixel takes the label of
the frame's nearest pixel, if that one is known (see `selfflow.augment.transform`). RAFT moves each
sparse label to the nearest pixel of the crop instead, and leaves gaps where it zooms in.
"""

import os
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock

import torch
from pydantic import Field
from torch import Tensor

from selfflow.augment import Augmentation, Geometry, augment
from selfflow.frames import shuffled
from selfflow.labelled import LabelledPair
from selfflow.pairs import Pairs
from selfflow.photometry import Colors
from selfflow.random import chance, key, purpose
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter_range

READERS = min(8, os.cpu_count() or 1)  # threads that decode a batch's files
ROUND = 10_000  # samples after which every data set has had its share
ZOOMED = 0.8  # probability that a sample is zoomed, and that a zoomed one is stretched (RAFT's)

Kept = tuple[Tensor, Tensor, Tensor, Tensor]  # frames as uint8, flow, valid


class Source(Config):
    """A data set to learn from: how often, and how its pairs are augmented."""

    name: str = Field(description="data set with labels, or a folder")
    parts: tuple[str, ...] = Field((), description="of it, such as clean; none: all for training")
    weight: float = Field(
        1.0, gt=0, description="how often each pair is seen, relative to those of other data sets"
    )
    zoom: tuple[float, float] = parameter_range(
        (-0.2, 0.6), -1.0, 1.5, unit="octaves", meaning="zoom"
    )
    flip: bool = Field(True, description="mirror pairs")
    sparse: bool = Field(
        False,
        description="as RAFT does with sparse labels: not stretched nor upside down, weaker "
        "changes of colour, the same in both frames",
    )

    @property
    def title(self) -> str:
        """The data set with its parts, for a person."""
        return " ".join((self.name, *self.parts))

    def augmentation(self) -> Augmentation:
        """Return RAFT's augmentation of such a data set."""
        geometry = Geometry(
            flip_horizontal=0.5 if self.flip else 0,
            flip_vertical=0.1 if self.flip and not self.sparse else 0,
            zoom=self.zoom,
            stretch=0 if self.sparse else 0.2,
            rotation=0,
            relative_zoom=0,
            relative_rotation=0,
            relative_translation=0,
        )
        colors = Colors(gamma=0, noise=0)
        if self.sparse:
            weaker = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.095}
            colors = colors.model_copy(update={**weaker, "asymmetric": 0.0})
        return Augmentation(geometry=geometry, colors=colors)


@dataclass(frozen=True)
class Division:
    """A data set's pairs.

    Attributes:
        source: the data set.
        trained: those that are learned from.
        measured: those that are measured before and after.
    """

    source: Source
    trained: list[LabelledPair]
    measured: list[LabelledPair]


def divide(
    data: Sequence[tuple[Source, list[LabelledPair]]], held_out: int, seed: int
) -> list[Division]:
    """Divide labelled pairs by sequence: what is measured shares no scene with what is learned.

    Sequences of a data set are held out, in an order that the seed decides, until they have
    `held_out` pairs; together they have at most an eighth of all. All passes and directions of a
    scene go together, also where several of the recipe's tables have parts of one data set. Where
    no sequence is that short, or nothing is to be held out, trained pairs are measured.
    """
    together: dict[str, list[LabelledPair]] = defaultdict(list)
    for source, pairs in data:
        together[source.name] += pairs
    kept = {name: _held_out_scenes(pairs, held_out, seed) for name, pairs in together.items()}
    divisions = []
    for source, pairs in data:
        aside = [pair for pair in pairs if _scene(pair) in kept[source.name]]
        trained = [pair for pair in pairs if _scene(pair) not in kept[source.name]] or pairs
        divisions.append(Division(source, trained, _spread(aside or trained, max(1, held_out))))
    return divisions


def _held_out_scenes(pairs: list[LabelledPair], held_out: int, seed: int) -> set[str]:
    counts = Counter(_scene(pair) for pair in pairs)
    names, kept = list(counts), set[str]()
    for place in shuffled(seed, 0, len(names)):
        so_far = sum(counts[name] for name in kept)
        if so_far < held_out and so_far + counts[names[place]] <= len(pairs) // 8:
            kept.add(names[place])
    return kept


def _scene(pair: LabelledPair) -> str:
    """Return the name of a pair's sequence, without its part."""
    return pair.name.removeprefix(f"{pair.part}/").rpartition("/")[0]


def _spread(pairs: Sequence[LabelledPair], count: int) -> list[LabelledPair]:
    """Return at most `count` pairs, evenly spread."""
    count = min(count, len(pairs))
    return [pairs[(2 * i + 1) * len(pairs) // (2 * count)] for i in range(count)]


class PairCache:
    """Reads labelled pairs and keeps the most recently used ones, frames as uint8.

    May be used from several threads.

    Args:
        bytes_limit: how much memory the kept pairs may take.
    """

    def __init__(self, bytes_limit: int = 2 << 30) -> None:
        self.bytes_limit = bytes_limit
        self.bytes_used = 0
        self._kept: OrderedDict[LabelledPair, Kept] = OrderedDict()
        self._lock = Lock()

    def load(self, pair: LabelledPair, device: torch.device | str = "cpu") -> Pairs:
        """Return a pair of whole frames with its flow, as a batch of one."""
        with self._lock:
            kept = self._kept.get(pair)
            if kept is not None:
                self._kept.move_to_end(pair)
        if kept is None:
            kept = _compact(pair)
            self._keep(pair, kept)
        image1, image2, flow, valid = (tensor.to(device) for tensor in kept)
        return Pairs(image1.float() / 255, image2.float() / 255, flow, valid)

    def _keep(self, pair: LabelledPair, kept: Kept) -> None:
        with self._lock:
            if pair in self._kept:  # read by two threads at once
                return
            self._kept[pair] = kept
            self.bytes_used += sum(tensor.nbytes for tensor in kept)
            while self.bytes_used > self.bytes_limit and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self.bytes_used -= sum(tensor.nbytes for tensor in dropped)


@dataclass(frozen=True)
class MixedBatches:
    """Endless augmented batches from several data sets.

    Batch `step` depends on the seed and the step alone. Each data set's pairs are all seen once
    before any is seen again, in a new order each time.

    Attributes:
        data: the data sets, each with its pairs.
        seed: of everything random.
        batch_size: pairs a batch.
        crop: height and width that the network sees.
        device: where the batches are made.
        cache: where pairs are kept.
    """

    data: Sequence[tuple[Source, Sequence[LabelledPair]]]
    seed: int
    batch_size: int
    crop: tuple[int, int]
    device: torch.device | str = "cpu"
    cache: PairCache = field(default_factory=PairCache)

    def __call__(self, step: int) -> Pairs:
        """Return batch number `step`, with `flow` and `valid`."""
        start = step * self.batch_size
        keys = key(self.seed, start + torch.arange(self.batch_size))
        places = [self.place(start + i) for i in range(self.batch_size)]
        pairs = [self.data[source][1][index] for source, index in places]
        with ThreadPoolExecutor(min(self.batch_size, READERS)) as readers:
            loaded = list(readers.map(lambda pair: self.cache.load(pair, self.device), pairs))
        samples = [
            self._augmented(source, pair, own_key)
            for (source, _), pair, own_key in zip(places, loaded, keys.split(1), strict=True)
        ]
        return Pairs(
            *(
                torch.cat([getattr(sample, name) for sample in samples])
                for name in ("image1", "image2", "flow", "valid")
            )
        )

    def place(self, number: int) -> tuple[int, int]:
        """Return which data set sample `number` is from, and which of its pairs it is."""
        cycle, slot = divmod(number, sum(self.shares))
        source, turn = _turns(self.seed, cycle, self.shares)[slot]
        count = len(self.data[source][1])
        epoch, place = divmod(cycle * self.shares[source] + turn, count)
        return source, shuffled(self.seed + 1 + source, epoch, count)[place]

    @property
    def shares(self) -> tuple[int, ...]:
        """How many of about 10,000 samples each data set has: by its weight times its pairs."""
        sizes = [source.weight * len(pairs) for source, pairs in self.data]
        return tuple(max(1, round(ROUND * size / sum(sizes))) for size in sizes)

    def _augmented(self, source: int, pair: Pairs, own_key: Tensor) -> Pairs:
        augmentation = self.data[source][0].augmentation()
        return augment(pair, own_key, _zoomed_or_not(augmentation, own_key), self.crop)


def _compact(pair: LabelledPair) -> Kept:
    loaded = pair.load()
    if loaded.flow is None:
        raise ValueError(f"{pair.name} has no label")
    valid = loaded.valid
    if valid is None:
        valid = torch.ones_like(loaded.flow[:, :1], dtype=torch.bool)
    images = ((image * 255).round().byte() for image in (loaded.image1, loaded.image2))
    return (*images, loaded.flow, valid)  # type: ignore[return-value]


def _zoomed_or_not(augmentation: Augmentation, own_key: Tensor) -> Augmentation:
    """Leave out zoom and stretch, or stretch alone, with RAFT's probabilities."""
    changes: dict[str, object] = {}
    if not chance(purpose(own_key, "mixture zoom"), ZOOMED).item():
        changes = {"zoom": (0.0, 0.0), "stretch": 0.0}
    elif not chance(purpose(own_key, "mixture stretch"), ZOOMED).item():
        changes = {"stretch": 0.0}
    geometry = augmentation.geometry.model_copy(update=changes)
    return augmentation.model_copy(update={"geometry": geometry})


@lru_cache(maxsize=4)
def _turns(seed: int, cycle: int, shares: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return for each sample of a round its data set, and how many of it came before."""
    sources = [source for source, share in enumerate(shares) for _ in range(share)]
    seen = [0] * len(shares)
    turns = []
    for slot in shuffled(seed, cycle, len(sources)):
        source = sources[slot]
        turns.append((source, seen[source]))
        seen[source] += 1
    return turns
