"""Images and their objects as a detector sees them: resized, mirrored, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle
from torch import Tensor

from representation.readout.objects.coco_format import Wanted
from representation.readout.objects.example import Example, KeypointScheme, Thing
from representation.readout.objects.settings import ObjectSettings
from selfflow.frames import shuffled
from selfflow.io import read_image
from selfflow.random import bits, chance, integers, key, purpose
from selfflow.runs.errors import UserError

Target = dict[str, Tensor]


@dataclass(frozen=True)
class ObjectBatch:
    """Images `(3, H, W)` in [0, 1], of any sizes, and what is in them; `number` of the batch."""

    number: int
    images: list[Tensor]
    targets: list[Target]


def load(example: Example) -> Tensor:
    """Return an image, `(3, H, W)` uint8; UserError if it is not of the size that labels say."""
    image = read_image(example.image)
    if image.shape[:2] != (example.height, example.width):
        raise UserError(
            f"{example.image} is {image.shape[1]}x{image.shape[0]}, but its labels are for "
            f"{example.width}x{example.height}"
        )
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def fitted(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) at a short side, or smaller, so that none is above `long_side`."""
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image `(3, H, W)` uint8 in another size as float in [0, 1]; antialiased."""
    image = image.float() / 255
    if size == tuple(image.shape[-2:]):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def target(
    things: Sequence[Thing],
    old: tuple[int, int],
    new: tuple[int, int],
    *,
    wanted: Wanted,
    scheme: KeypointScheme | None,
    mirrored: bool,
) -> Target:
    """Return objects of an image of size `old` (H, W) in a view of size `new`.

    Keys: `boxes` `(N, 4)` float32 and `labels` `(N,)` int64 from 0; with masks `masks`
    `(N, H, W)` uint8; with keypoints `keypoints` `(N, K, 3)` float32, of which a mirrored image's
    left ones become right ones.
    """
    x_scale, y_scale = new[1] / old[1], new[0] / old[0]
    boxes = torch.tensor([thing.box for thing in things], dtype=torch.float64).view(-1, 4)
    boxes = boxes * torch.tensor((x_scale, y_scale, x_scale, y_scale))
    if mirrored:
        boxes = torch.stack(
            (new[1] - boxes[:, 2], boxes[:, 1], new[1] - boxes[:, 0], boxes[:, 3]), 1
        )
    labels = torch.tensor([thing.label for thing in things], dtype=torch.int64)
    found = {"boxes": boxes.float(), "labels": labels}
    if wanted == "masks":
        found["masks"] = masks(things, new, mirrored=mirrored)
    if scheme is not None:
        points = np.array([thing.keypoints for thing in things]).reshape(-1, len(scheme.names), 3)
        placed = torch.from_numpy(points) * torch.tensor((x_scale, y_scale, 1.0))
        if mirrored:
            placed[..., 0] = new[1] - placed[..., 0]
            placed = placed[:, list(scheme.flipped)]
        found["keypoints"] = placed.float()
    return found


def masks(things: Sequence[Thing], size: tuple[int, int], *, mirrored: bool) -> Tensor:
    """Return the objects' masks in a view of that size, `(N, H, W)` uint8, by nearest pixels."""
    views = []
    for thing in things:
        if thing.mask is None:
            raise ValueError("an object without a mask")
        mask = torch.from_numpy(np.ascontiguousarray(rle.decode(thing.mask)))[None, None]
        mask = F.interpolate(mask, size, mode="nearest-exact")[0]
        views.append(mask.flip(-1) if mirrored else mask)
    return torch.cat(views) if views else torch.zeros(0, *size, dtype=torch.uint8)


@dataclass(frozen=True)
class ObjectBatches:
    """Endless batches of images to learn from; batch `number` depends on seed and number alone.

    All images are seen once before any is seen again, in a new order each time. Those without
    objects take part.
    """

    examples: Sequence[Example]
    settings: ObjectSettings
    wanted: Wanted
    scheme: KeypointScheme | None
    device: torch.device

    def __call__(self, number: int) -> ObjectBatch:
        """Return batch number `number`."""
        size, count = self.settings.batch_size, len(self.examples)
        images, targets = [], []
        for sample in range(number * size, (number + 1) * size):
            order = shuffled(self.settings.seed, sample // count, count)
            image, objects = self.view(self.examples[order[sample % count]], sample)
            images.append(image.to(self.device))
            targets.append({name: value.to(self.device) for name, value in objects.items()})
        return ObjectBatch(number, images, targets)

    def view(self, example: Example, sample: int) -> tuple[Tensor, Target]:
        """Return an image in one of the short sides, mirrored or not, as drawn for the sample."""
        settings = self.settings
        drawn = key(settings.seed, torch.tensor([sample]))
        side = int(integers(purpose(drawn, "short side"), 0, len(settings.short_sides)))
        mirrored = settings.flip and bool(chance(purpose(drawn, "mirrored"), 0.5))
        old = example.height, example.width
        size = fitted(*old, settings.short_sides[side], settings.long_side)
        image = resized(load(example), size)
        objects = target(
            example.learned, old, size, wanted=self.wanted, scheme=self.scheme, mirrored=mirrored
        )
        return image.flip(-1) if mirrored else image, objects


def permuted(examples: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """Return the images, each with the objects of another one, fitted into it.

    What is learned from these says what positions and sizes alone are worth. Boxes only.
    """
    order = bits(purpose(key(seed, torch.tensor([0])), "permuted"), len(examples))[0].argsort()
    giver = dict(zip(order.tolist(), order.roll(1).tolist(), strict=True))
    return tuple(_exchanged(each, examples[giver[i]]) for i, each in enumerate(examples))


def _exchanged(example: Example, giver: Example) -> Example:
    x, y = example.width / giver.width, example.height / giver.height
    things = tuple(
        Thing(
            (thing.box[0] * x, thing.box[1] * y, thing.box[2] * x, thing.box[3] * y),
            thing.label,
            thing.area * x * y,
            thing.ignored,
        )
        for thing in giver.things
    )
    return Example(Path(example.image), example.height, example.width, things)
