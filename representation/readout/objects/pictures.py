"""Pictures of what was found beside what is there."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from representation.readout.objects.example import Array, Example, Rle
from representation.readout.objects.finding import Found
from selfflow.io import Bytes, read_image, write_image

SURE = 0.5  # what is found with a higher score is drawn; the best one always
HEIGHT = 320  # px of a picture, at least
GAP = 6  # px between the two


def beside(example: Example, found: Found, classes: Sequence[str]) -> Bytes:
    """Return an image with its labels, and again with what was found, as one picture."""
    image = read_image(example.image)
    labelled = drawn(
        image,
        np.array([thing.box for thing in example.learned]).reshape(-1, 4),
        [thing.label for thing in example.learned],
        [classes[thing.label] for thing in example.learned],
        [thing.mask for thing in example.learned],
        [thing.keypoints for thing in example.learned],
    )
    count = max(int((found.scores > SURE).sum()), min(1, len(found.scores)))
    labels = [int(label) for label in found.labels[:count]]
    names = [
        f"{classes[label]} {score:.2f}"
        for label, score in zip(labels, found.scores[:count], strict=True)
    ]
    masks: list[Rle | None] = [None] * count if found.masks is None else list(found.masks[:count])
    points: list[Array | None] = [None] * count
    if found.keypoints is not None:
        points = list(found.keypoints[:count])
    right = drawn(image, found.boxes[:count], labels, names, masks, points)
    gap = np.full((len(right), GAP, 3), 255, np.uint8)
    return np.concatenate([labelled, gap, right], 1)


def drawn(
    image: Bytes,
    boxes: Array,
    labels: Sequence[int],
    names: Sequence[str],
    masks: Sequence[Rle | None],
    keypoints: Sequence[Array | None],
) -> Bytes:
    """Return an image, enlarged if it is small, with objects in the colours of their classes."""
    scale = max(1.0, HEIGHT / image.shape[0])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    picture = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
    everything = zip(boxes, labels, names, masks, keypoints, strict=True)
    for box, label, name, mask, points in everything:
        color = class_color(label)
        if mask is not None:
            inside = cv2.resize(rle.decode(mask), size, interpolation=cv2.INTER_NEAREST) > 0
            picture[inside] = (picture[inside] * 0.5 + np.array(color) * 0.5).astype(np.uint8)
        x1, y1, x2, y2 = (round(float(end) * scale) for end in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 2)
        place = x1 + 3, min(y1 + 14, size[1] - 3)
        cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
        cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        for x, y, shown in points if points is not None else ():
            if shown > 0:
                cv2.circle(picture, (round(x * scale), round(y * scale)), 3, color, -1)
    return np.asarray(picture, np.uint8)


def class_color(label: int) -> tuple[int, int, int]:
    """Return a class's colour: hues a golden section apart, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb((0.05 + label * 0.618) % 1, 0.85, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def write_pictures(
    folder: Path, examples: Sequence[Example], found: Sequence[Found], classes: Sequence[str]
) -> None:
    """Write `NUMBER_NAME.png` for each image into a folder: labels left, what was found right."""
    for number, (example, each) in enumerate(zip(examples, found, strict=True)):
        path = folder / f"{number:03d}_{example.image.stem}.png"
        write_image(path, beside(example, each, classes))
