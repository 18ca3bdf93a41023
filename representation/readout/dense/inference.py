"""Outputs at every pixel of test images, whole or through windows, and what they add up to."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from representation.encoder import Encoder, read_features
from representation.readout.dense.examples import Example
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.heads import Heads
from representation.readout.dense.images import label_positions, load_image, resized_size
from representation.readout.dense.settings import WindowSettings
from representation.readout.dense.sources import Source
from representation.readout.dense.target import Target
from selfflow.flow import pixel_grid, sample
from selfflow.runs.progress import track


class Reader:
    """Reads outputs at the pixels of images' label maps.

    Args:
        encoder: in evaluation mode.
        heads: likewise.
        features: gives the features of whole images.
        window: through which images are looked at.
    """

    def __init__(
        self, encoder: Encoder, heads: Heads, features: Features, window: WindowSettings
    ) -> None:
        self.encoder, self.heads = encoder, heads
        self.features, self.window = features, window

    @torch.no_grad()
    def __call__(self, image: Source, size: tuple[int, int]) -> Iterator[Tensor]:
        """Yield each head's outputs, `(outputs, H, W)`, at the pixels of a label map `(H, W)`."""
        short_side = self.features.short_side
        seen = size if short_side is None else resized_size(size, short_side)
        positions = label_positions(size, seen).to(self.encoder.mean.device)
        if self.window.height is None or self.window.width is None:
            cells = self.heads(self.features(image).to(positions).float()[None])[0]  # (K, O, h, w)
            for head in cells:
                yield self._read(head, positions)
            return
        pixels = load_image(image, short_side).to(positions)
        for total in self._through_windows(pixels, self.window.height, self.window.width):
            yield total if size == seen else sample(total[None], positions)[0]

    def _through_windows(self, image: Tensor, height: int, width: int) -> Iterator[Tensor]:
        """Yield each head's outputs at an image's pixels: the mean over the windows they are in."""
        stride, rows, columns = self.encoder.stride, image.shape[-2], image.shape[-1]
        places = list(
            product(
                window_starts(rows, height, self.window.overlap, stride),
                window_starts(columns, width, self.window.overlap, stride),
            )
        )
        boxes = [(slice(y, y + height), slice(x, x + width)) for y, x in places]
        cells = [self.heads(self.encoder(image[..., y, x]))[0] for y, x in boxes]
        counts = image.new_zeros(rows, columns)
        for y, x in boxes:
            counts[y, x] += 1
        for number in range(len(cells[0])):
            total = image.new_zeros(self.heads.outputs, rows, columns)
            for (y, x), window in zip(boxes, cells, strict=True):
                inner = counts[y, x].shape
                grid = pixel_grid(inner[0], inner[1], device=image.device)
                total[:, y, x] += self._read(window[number], grid)
            yield total / counts

    def _read(self, cells: Tensor, positions: Tensor) -> Tensor:
        return read_features(cells[None], positions, self.encoder.stride, self.encoder.offset)[0]


def window_starts(length: int, window: int, overlap: float, stride: int) -> list[int]:
    """Return where windows along one side of an image begin.

    At multiples of the stride, so that cells lie where they lie in the whole image, neighbours
    overlapping by at least the share `overlap`. The last one may reach beyond the image, by less
    than a stride, where it is cut off.
    """
    last = -(-max(0, length - window) // stride) * stride
    step = max(stride, int(window * (1 - overlap)) // stride * stride)
    return [*range(0, last, step), last]


def evaluate(
    reader: Reader,
    examples: Sequence[Example],
    target: Target,
    title: str,
    show: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Return the tally of each image and head, `(images, heads, *tally)`, on the CPU.

    Args:
        reader: of outputs.
        examples: images and label maps.
        target: which tallies them.
        title: beside the bar.
        show: called with the number of each image and the first head's outputs.
    """
    tallies = []
    for number, example in enumerate(track(examples, title)):
        labels = target.read(example.label)
        each = []
        for head, outputs in enumerate(reader(example.image, (labels.shape[0], labels.shape[1]))):
            if head == 0 and show is not None:
                show(number, outputs)
            each.append(target.tally(outputs, labels.to(outputs.device)).cpu())
        tallies.append(torch.stack(each))
    return torch.stack(tallies)
