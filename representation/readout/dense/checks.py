"""What is wrong with labelled images, found before any work is done on them."""

from collections.abc import Sequence

from representation.readout.dense.examples import Example
from representation.readout.dense.sources import size_of
from representation.readout.dense.target import Target
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track


def check_sizes(examples: Sequence[Example]) -> None:
    """Raise UserError unless every label map has its image's size, by the files' headers."""
    for example in examples:
        image, label = size_of(example.image), size_of(example.label)
        if image != label:
            raise UserError(
                f"{example.label} is {label[1]}x{label[0]}, but its image {example.image.name} "
                f"is {image[1]}x{image[0]}"
            )


def check_apart(train: Sequence[Example], test: Sequence[Example]) -> None:
    """Raise UserError if an image is both trained and tested on."""
    both = {example.image for example in train} & {example.image for example in test}
    if both:
        one = min(map(str, both))
        raise UserError(f"{len(both)} of the test images are trained on, {one} for one")


def check_labels(examples: Sequence[Example], target: Target, purpose: str) -> None:
    """Read every label map once; UserError if one is bad, or nothing is known in any."""
    known = False
    for example in track(examples, "Label maps"):
        known |= bool((target.read(example.label) != target.unknown).any())
    if not known:
        raise UserError(f"no pixel of the images to {purpose} has a label")
