"""Endless batches of rendered pairs, for anyone's training loop."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.render import render
from autoflow.textures import PhotographBank
from selfflow.augment import augment as augment_pairs
from selfflow.pairs import Pairs
from selfflow.random import integers, key, purpose

MARGIN = 1.25  # scenes are rendered this much larger than the crops that augmentation takes


class Stream:
    """Batches of pairs; batch number `step` is a pure function of the step."""

    def __init__(
        self,
        sets: Sequence[Hyperparameters],
        *,
        seed: int,
        size: tuple[int, int],
        batch_size: int,
        device: torch.device | str | None,
        frames: int,
        photographs: PhotographBank | None,
        augment: bool,
    ) -> None:
        if not sets or batch_size < 1:
            raise ValueError("a stream needs a set of hyperparameters and a batch size")
        self.sets, self.seed, self.size = tuple(sets), seed, size
        self.batch_size, self.device, self.frames = (
            batch_size,
            torch.device(device or "cpu"),
            frames,
        )
        self.photographs, self.augment = photographs, augment

    def __iter__(self) -> Iterator[Pairs]:
        step = 0
        while True:
            yield self.batch_at(step)
            step += 1

    def batch_at(self, step: int, strength: float = 1.0) -> Pairs:
        """Return batch number `step`, `batch_size * (frames - 1)` pairs.

        `strength` is augmentation's, for a curriculum that grows over training.
        """
        indices = torch.arange(self.batch_size, device=self.device) + step * self.batch_size
        keys = key(self.seed, indices)
        chosen = integers(purpose(keys, "set"), 0, len(self.sets), 1)[:, 0]
        parts, order = [], []
        for number, hyperparameters in enumerate(self.sets):
            (members,) = (chosen == number).nonzero(as_tuple=True)
            if len(members):
                parts.append(self._part(hyperparameters, indices[members], keys[members], strength))
                order.append(members)
        return _in_order(parts, torch.cat(order).argsort(), self.frames - 1)

    def _part(
        self, hyperparameters: Hyperparameters, indices: Tensor, keys: Tensor, strength: float
    ) -> Pairs:
        height, width = self.size
        size = (round(height * MARGIN), round(width * MARGIN)) if self.augment else self.size
        pairs = render(
            hyperparameters,
            self.seed,
            indices,
            size=size,
            frames=self.frames,
            device=self.device,
            photographs=self.photographs,
        ).pairs()
        if not self.augment:
            return pairs
        steps = torch.arange(self.frames - 1, device=self.device)
        each = purpose(keys[:, None], "augmentation", steps).flatten()
        return augment_pairs(pairs, each, hyperparameters.augmentation, self.size, strength)


def stream(
    hyperparameters: Hyperparameters | Sequence[Hyperparameters],
    *,
    seed: int = 0,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device | str | None = None,
    frames: int = 2,
    photographs: PhotographBank | None = None,
    augment: bool = True,
) -> Stream:
    """Return an endless iterable of batches of pairs with flow, `valid` and `visible`.

    Args:
        hyperparameters: one set, or several to be mixed: each sample draws its own.
        seed: of the stream.
        size: height and width of the pairs in pixels.
        batch_size: samples in a batch; one of `frames` frames yields `frames - 1` pairs.
        device: where to render; the CPU by default.
        frames: frames of a clip.
        photographs: pictures to take textures from.
        augment: whether to augment, as the sets' `augmentation` says.
    """
    sets = [hyperparameters] if isinstance(hyperparameters, Hyperparameters) else hyperparameters
    return Stream(
        sets,
        seed=seed,
        size=size,
        batch_size=batch_size,
        device=device,
        frames=frames,
        photographs=photographs,
        augment=augment,
    )


def _in_order(parts: list[Pairs], order: Tensor, per_sample: int) -> Pairs:
    """Put the pairs of parts back into the order of the batch."""
    rows = (order[:, None] * per_sample + torch.arange(per_sample, device=order.device)).flatten()

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])[rows]

    names = ("image1", "image2", "flow", "valid", "visible")
    return Pairs(**{name: joined(name) for name in names})
