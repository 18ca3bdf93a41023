"""Fixed parts of the images to learn from, for label shares."""

import hashlib
import math
from collections.abc import Sequence

from representation.readout.objects.example import Example


def label_share(examples: Sequence[Example], percent: float, seed: int = 0) -> tuple[Example, ...]:
    """Return a fixed random part of the images, in their order, at least one.

    Which ones is decided by hashes of their names: smaller shares lie in larger ones, and every
    encoder and host gets the same.
    """
    count = max(1, math.ceil(len(examples) * percent / 100 - 1e-9))

    def place(number: int) -> bytes:
        image = examples[number].image
        name = f"{image.parent.name}/{image.stem}"
        return hashlib.sha256(f"label share {seed}: {name}".encode()).digest()

    chosen = set(sorted(range(len(examples)), key=place)[:count])
    return tuple(example for number, example in enumerate(examples) if number in chosen)
