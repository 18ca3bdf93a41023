"""Triplets of a target's frames, their labels in a folder, and batches of both."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfflow.augment import Augmentation, augment
from selfflow.frames import FrameBatches, FrameCache
from selfflow.multiframe import Labels, LabelSettings, make_labels
from selfflow.objective import FlowNetwork
from selfflow.pairfinding import PairAddress, find_pairs, usable
from selfflow.pairs import Pairs
from selfflow.random import key, purpose
from selfflow.runs.distributed import all_reduce_sum, rank, world_size
from selfflow.runs.errors import UserError
from selfflow.runs.progress import progress
from selfflow.runs.run import atomic_write
from selfflow.video import Target


class Triplet(NamedTuple):
    """Where three frames are found, equally far apart in time. A list in JSON."""

    sequence: str
    before: int
    middle: int
    after: int

    @property
    def pairs(self) -> tuple[PairAddress, PairAddress]:
        """The pairs of neighbours: before and middle, middle and after."""
        return (
            PairAddress(self.sequence, self.before, self.middle),
            PairAddress(self.sequence, self.middle, self.after),
        )


def triplets_from_json(items: object, source: str) -> list[Triplet]:
    """Return the triplets of a list of [sequence, before, middle, after]; UserError for others."""
    try:
        assert isinstance(items, list)
        return [Triplet(str(name), int(b), int(m), int(a)) for name, b, m, a in items]
    except (AssertionError, TypeError, ValueError):
        raise UserError(f"{source}: not a list of [sequence, before, middle, after]") from None


def find_triplets(
    target: Target, gaps: Sequence[int], *, limit: int | None = None, seed: int = 0
) -> list[Triplet]:
    """Return the triplets of a target without a shot cut in which both pairs move.

    Args:
        target: where the frames are.
        gaps: how many frames lie between neighbours of a triplet, plus one.
        limit: look at no more than so many triplets, spread over the target.
        seed: which ones, with `limit`.

    Raises:
        UserError: none is left, or frames cannot be read.
    """
    if min(gaps) < 1:
        raise UserError(f"a gap between frames is at least 1, got {min(gaps)}")
    whole = find_pairs(
        target,
        [2 * gap for gap in gaps],
        skip_static=False,
        skip_cuts=False,
        limit=limit,
        seed=seed,
    )
    triplets = [
        Triplet(name, first, (first + second) // 2, second) for name, first, second in whole
    ]
    parts = dict.fromkeys(pair for triplet in triplets for pair in triplet.pairs)
    good = set(usable(target, list(parts)))
    found = [triplet for triplet in triplets if good.issuperset(triplet.pairs)]
    if not found:
        raise UserError(
            f"target {target.name}: all {len(triplets)} triplets of frames are static or have cuts"
        )
    return found


# --- the folder ---------------------------------------------------------------------------------


class Share(NamedTuple):
    """What part of a frame a label speaks of.

    Attributes:
        valid: share of pixels with a label.
        filled: share of pixels whose label comes from the frame before.
    """

    valid: float
    filled: float


@dataclass(frozen=True)
class LabelStore:
    """Labels as files in a folder, by number: flow in half precision, a bit a pixel for the mask.

    Half precision has 11 bits: a vector of 16 pixels is stored to 1/128 of a pixel.
    """

    folder: Path

    def path(self, number: int) -> Path:
        """Return the file of a label."""
        return self.folder / f"{number:06d}.npz"

    def write(self, number: int, labels: Labels) -> None:
        """Store one label, a batch of one, whole or not at all."""
        if len(labels.flow) != 1:
            raise ValueError(f"one label at a time, got {len(labels.flow)}")
        flow = labels.flow[0].cpu().half()
        # What is beyond half precision, 65,504 pixels, is no motion.
        valid = labels.valid[0, 0].cpu() & flow.isfinite().all(0)
        with atomic_write(self.path(number)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                flow=torch.where(valid, flow, 0).numpy(),
                valid=np.packbits(valid.numpy()),
                shares=np.array([valid.float().mean(), labels.filled.float().mean().cpu()]),
            )

    def read(self, number: int) -> tuple[Tensor, Tensor]:
        """Return flow `(1, 2, H, W)` float32 and valid `(1, 1, H, W)` bool of a label."""
        flow, packed = self._arrays(number, "flow", "valid")
        height, width = flow.shape[-2:]
        valid = np.unpackbits(packed, count=height * width).reshape(1, 1, height, width)
        return torch.from_numpy(flow.astype(np.float32))[None], torch.from_numpy(valid).bool()

    def share(self, number: int) -> Share:
        """Return what part of its frame a label speaks of; its flow is not read."""
        (shares,) = self._arrays(number, "shares")
        return Share(*shares.tolist())

    def _arrays(self, number: int, *names: str) -> list[np.ndarray]:
        path = self.path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return [file[name] for name in names]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} is not a readable label; remove it to have it made again ({error})"
            ) from error


def label_all(
    store: LabelStore,
    network: FlowNetwork,
    cache: FrameCache,
    triplets: Sequence[Triplet],
    settings: LabelSettings,
    *,
    seed: int,
    device: torch.device,
) -> None:
    """Make the labels of all triplets that the store does not hold yet, in batches.

    A batch of which one label is missing is made again as a whole, so that rounding does not depend
    on where an earlier attempt was stopped. Several processes share the batches.

    Args:
        store: where the labels go, numbered as the triplets are.
        network: of two frames, in evaluation mode.
        cache: the target's frames.
        triplets: all of them, by sequence and time, so that neighbours share their flow.
        settings: how labels are made, and of how many triplets at once.
        seed: of the small networks' first weights.
        device: where they are made.
    """
    batches = list(_batches(cache, triplets, settings.batch_size))
    with progress("Labels of three frames", len(triplets)) as bar:
        for numbers in batches[rank() :: world_size()]:
            if not all(store.path(number).exists() for number in numbers):
                chosen = [triplets[number] for number in numbers]
                frames, places = _load(cache, chosen, device)
                keys = purpose(key(seed, torch.tensor(numbers)), "labels").to(device)
                labels = make_labels(network, frames, places, keys, settings)
                for place, number in enumerate(numbers):
                    part = slice(place, place + 1)
                    one = Labels(labels.flow[part], labels.valid[part], labels.filled[part])
                    store.write(number, one)
            bar.advance(len(numbers) * world_size())
    all_reduce_sum(torch.zeros(()))  # nobody goes on before all are done


def _batches(cache: FrameCache, triplets: Sequence[Triplet], at_once: int) -> Iterator[list[int]]:
    """Yield the numbers of triplets that are labelled together: neighbours, of one frame size."""
    numbers: list[int] = []
    size: tuple[int, int] | None = None
    for number, triplet in enumerate(triplets):
        own = cache.target[triplet.sequence].size
        if numbers and (own != size or len(numbers) == at_once):
            yield numbers
            numbers = []
        numbers.append(number)
        size = own
    if numbers:
        yield numbers


def _load(
    cache: FrameCache, triplets: Sequence[Triplet], device: torch.device
) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Return all frames of the triplets once, `(N, 3, H, W)`, and each triplet's numbers in it."""
    frames = sorted({(triplet.sequence, index) for triplet in triplets for index in triplet[1:]})
    place = {frame: number for number, frame in enumerate(frames)}
    stacked = torch.stack([cache.frame(*frame) for frame in frames]).to(device)
    return stacked.float() / 255, [
        (place[name, before], place[name, middle], place[name, after])
        for name, before, middle, after in triplets
    ]


# --- batches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelBatches:
    """Endless augmented batches with labels; batch `step` depends on the seed and step alone.

    Attributes:
        frames: its pairs are the middle and last frames of all triplets, in their order.
        store: the labels.
        augmentation: what is done to frames and labels.
        crop: height and width of the batches.
    """

    frames: FrameBatches
    store: LabelStore
    augmentation: Augmentation
    crop: tuple[int, int]

    def __call__(self, step: int) -> Pairs:
        """Return batch number `step`, with `flow` and `valid`."""
        keys = self.frames.keys(step)
        samples = [
            augment(self._read(address), keys[place : place + 1], self.augmentation, self.crop)
            for place, address in enumerate(self.frames.addresses(step))
        ]
        names = ("image1", "image2", "flow", "valid")
        return Pairs(*(torch.cat([getattr(each, name) for each in samples]) for name in names))

    def _read(self, address: PairAddress) -> Pairs:
        """Return a triplet's last two frames with the label, as a batch of one."""
        number = self._numbers[address]
        flow, valid = self.store.read(number)
        pair = self.frames.cache.batch([address], device=self.frames.device)
        if flow.shape[-2:] != pair.image1.shape[-2:]:
            raise UserError(f"{self.store.path(number)} is not of the frames' size; remove it")
        return Pairs(pair.image1, pair.image2, flow, valid).to(self.frames.device)

    @cached_property
    def _numbers(self) -> dict[PairAddress, int]:
        return {address: number for number, address in enumerate(self.frames.pairs)}
