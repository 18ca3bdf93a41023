"""What is reached without looking at the images: each class's usual box, in every image."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from representation.readout.objects.example import Example
from representation.readout.objects.finding import Found


def usual_boxes(train: Sequence[Example], test: Sequence[Example], classes: int) -> list[Found]:
    """Return, for each image to test on, one box for each class: the same in every image.

    Its edges are the medians over the class's objects to learn from, relative to the image; its
    score is the share of the images that have such an object. A detector that is not better than
    this has learned where objects are, not what they look like.
    """
    relative = defaultdict(list)
    images: dict[int, int] = defaultdict(int)
    for example in train:
        size = np.array((example.width, example.height) * 2, np.float64)
        for thing in example.learned:
            relative[thing.label].append(np.array(thing.box) / size)
        for label in {thing.label for thing in example.learned}:
            images[label] += 1
    known = sorted((label for label in range(classes) if relative[label]), key=lambda i: -images[i])
    boxes = np.array([np.median(relative[label], 0) for label in known])
    scores = np.array([images[label] / len(train) for label in known])
    return [
        Found(
            boxes * np.array((example.width, example.height) * 2, np.float64),
            scores,
            np.array(known, np.float64),
        )
        for example in test
    ]
