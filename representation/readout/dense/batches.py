"""Batches of images, or of their features, with labels at pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from representation.readout.dense.augmentation import augment
from representation.readout.dense.examples import Example
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.images import label_positions, load_image, padded, resized_size
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.sources import Source
from representation.readout.dense.target import Target
from selfflow.random import bits, integers, key, purpose


@dataclass(frozen=True)
class Batch:
    """What a step takes.

    Attributes:
        inputs: images `(B, 3, H, W)`, or their features `(B, C, h, w)`.
        positions: where the labels lie in the images, `(B, 2, H', W')` in pixels.
        labels: `(B, H', W')`.
    """

    inputs: Tensor
    positions: Tensor
    labels: Tensor


class Batches:
    """Batches of a list of examples, each a pure function of its number.

    Every example comes once in each pass, in an order that seed and pass decide. Images of
    different sizes are padded to the largest of the batch, at the right and at the bottom, where
    there are no labels: images with `fill`, features with those of the border.

    Args:
        examples: that are trained on.
        target: reads their label maps.
        settings: sizes, augmentation, pixels.
        features: gives features in place of images; only without augmentation.
        fill: colour `(3, 1, 1)` beyond an image.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        target: Target,
        settings: DenseSettings,
        features: Features | None = None,
        fill: Tensor | None = None,
    ) -> None:
        if features is not None and settings.augmentation.active:
            raise ValueError("features of images that are augmented cannot be kept")
        self.examples = examples
        self.target = target
        self.settings = settings
        self.features = features
        self.fill = torch.full((3, 1, 1), 0.5) if fill is None else fill
        self.labels = KeptLabels(target)
        self.order: tuple[int, list[int]] = (-1, [])

    def __call__(self, number: int) -> Batch:
        """Return batch `number`, on the CPU."""
        size = self.settings.training.batch_size
        parts = [self._part(place) for place in range(number * size, (number + 1) * size)]
        inputs, positions, labels = zip(*parts, strict=True)
        together = stacked(inputs, self.fill if self.features is None else None)
        none = torch.tensor(self.target.unknown, dtype=labels[0].dtype)
        return Batch(together, stacked(positions, None), stacked(labels, none))

    def _part(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return input `(C, h, w)`, positions `(2, H', W')` and labels `(H', W')` of an example."""
        settings = self.settings
        example = self._example(place)
        keys = key(settings.seed, torch.tensor([place]))
        labels = self.labels(example.label)
        if self.features is not None:
            inputs = self.features(example.image)
            size = resized_size(labels.shape, settings.parts.short_side or min(labels.shape))
        else:
            image = load_image(example.image, settings.parts.short_side)
            if settings.augmentation.active:
                image, labels = augment(
                    image, labels, keys, settings.augmentation, self.fill, self.target.unknown
                )
            inputs, size = image[0], (image.shape[-2], image.shape[-1])
        height, width = labels.shape
        positions = label_positions((height, width), size)[0]
        if (count := settings.training.pixels) is None or count >= labels.numel():
            return inputs, positions, labels
        chosen = integers(purpose(keys, "pixels"), 0, height * width, count)  # (1, count)
        return inputs, positions.flatten(1)[:, chosen[0]][:, None], labels.flatten()[chosen]

    def _example(self, place: int) -> Example:
        epoch, number = divmod(place, len(self.examples))
        if self.order[0] != epoch:
            every = key(self.settings.seed, torch.arange(len(self.examples)))
            keys = purpose(every, "order", epoch)
            self.order = epoch, bits(keys, 1)[:, 0].argsort(stable=True).tolist()
        return self.examples[self.order[1][number]]


class KeptLabels:
    """Label maps, kept in memory as long as they fit into `limit` bytes."""

    def __init__(self, target: Target, limit: int = 2**29) -> None:
        self.target = target
        self.left = limit
        self.kept: dict[Source, Tensor] = {}

    def __call__(self, source: Source) -> Tensor:
        """Return a label map `(H, W)`."""
        if (known := self.kept.get(source)) is not None:
            return known
        labels = self.target.read(source)
        if labels.nbytes <= self.left:
            self.kept[source] = labels
            self.left -= labels.nbytes
        return labels


def stacked(tensors: Sequence[Tensor], fill: Tensor | None) -> Tensor:
    """Return tensors `(..., h, w)` as one, padded at the right and bottom where they differ.

    With `fill`, which broadcasts to them, or by repeating the border if it is None.
    """
    height, width = (max(each.shape[side] for each in tensors) for side in (-2, -1))
    return torch.stack([padded(each, height, width, fill) for each in tensors])
