"""Images with a label map each, and which of them are taken."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from representation.readout.dense.sources import Source
from selfflow.runs.errors import UserError


@dataclass(frozen=True)
class Example:
    """An image and its label map.

    Attributes:
        name: path of the image in its data set, without suffix; the same on every host.
        image: where it is.
        label: where the label map is.
    """

    name: str
    image: Source
    label: Source


Parts = Mapping[str, tuple[Example, ...]]


def select(parts: Parts, wanted: str, source: str) -> list[Example]:
    """Return the examples of a part by name, or of a piece of it.

    `val` is all of it, `val:0-50%` the first half by name (of a video, of its frames), and
    `train+val:0-50%` what both name.

    Raises:
        UserError: there is no such part, or nothing in it.
    """
    found: list[Example] = []
    for piece in wanted.split("+"):
        match = re.fullmatch(r"([^:]+)(?::(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)%)?", piece.strip())
        if match is None:
            raise UserError(f"{piece!r} is no part of data; it looks like val or val:0-50%")
        name, low, high = match[1], float(match[2] or 0), float(match[3] or 100)
        if name not in parts:
            raise UserError(f"{source} has no part {name!r} with labels; it has {', '.join(parts)}")
        if not low < high <= 100:
            raise UserError(f"{piece!r} is empty: it goes from {low:g} to {high:g} %")
        whole = sorted(parts[name], key=lambda example: example.name)
        first, end = (round(len(whole) * share / 100) for share in (low, high))
        if first == end:
            raise UserError(f"{source}: there is no image in {piece!r} ({len(whole)} in {name})")
        found += whole[first:end]
    return list(dict.fromkeys(found))


def label_share(examples: Sequence[Example], percent: float, seed: int = 0) -> list[Example]:
    """Return a fixed random part of the examples, in their order, at least one.

    Whether an image belongs to it is decided by a hash of its name: smaller shares lie in larger
    ones, and every encoder and host gets the same.
    """
    count = max(1, math.ceil(len(examples) * percent / 100 - 1e-9))
    chosen = set(shuffled(examples, f"label share {seed}")[:count])
    return [example for example in examples if example in chosen]


def held_out(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Return the examples to train on and those to choose a learning rate on, both non-empty.

    By name they are cut into at most four stretches, and the end of each is held out: neighbours
    are often frames of one film, and frames beside those that are trained on would favour whatever
    learns these by heart. A single example is in both.
    """
    if len(examples) < 2:
        return list(examples), list(examples)
    inside = sorted(examples, key=lambda example: example.name)
    stretches = max(1, min(4, int(len(inside) * share)))
    places = [number * stretches % len(inside) for number in range(len(inside))]
    first = min(len(inside) * (1 - share) - 1e-6, max(places))
    judged = {example for example, place in zip(inside, places, strict=True) if 0 < place >= first}
    kept = [example for example in examples if example not in judged]
    return kept, [example for example in examples if example in judged]


def shuffled(examples: Sequence[Example], purpose: str) -> list[Example]:
    """Return the examples in an order that their names and the purpose decide."""

    def place(example: Example) -> bytes:
        return hashlib.sha256(f"{purpose}: {example.name}".encode()).digest()

    return sorted(examples, key=place)


def digest(examples: Sequence[Example]) -> str:
    """Return 16 hexadecimal digits that tell a list of examples from others, by their names."""
    names = "\n".join(example.name for example in examples)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def matched(
    root: Path, images: Sequence[Path], labels: Mapping[str, Path], where: str
) -> tuple[Example, ...]:
    """Return the images with the label map of the same key, see `stem_key`.

    Raises:
        UserError: an image has none.
    """
    missing = [path for path in images if stem_key(path) not in labels]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(images)} images have no label map in {where}, "
            f"{missing[0]} for one"
        )
    return tuple(
        Example(path.relative_to(root).with_suffix("").as_posix(), path, labels[stem_key(path)])
        for path in images
    )


def stem_key(path: Path) -> str:
    """Return what an image and its label map have in common: the name without known endings."""
    return re.sub(r"(_leftImg8bit|_gtFine_\w+|_train_id|_L)$", "", path.stem)
