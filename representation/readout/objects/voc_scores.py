"""PASCAL VOC's average precision, with which figures on VOC 2007 are published.

COCO's differs in how the curve is integrated (101 points in place of 11) and in what becomes of
difficult objects found twice. The papers that fine-tune on VOC report these numbers as "AP" (the
mean over IoU 0.5 to 0.95), "AP50" and "AP75".
"""

from collections.abc import Sequence

import numpy as np

from representation.readout.objects.example import Array, Example
from representation.readout.objects.finding import Found

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def voc_scores(
    examples: Sequence[Example], found: Sequence[Found], classes: int
) -> dict[str, float]:
    """Return `VOC_AP`, `VOC_AP50` and `VOC_AP75`, means over the classes that have objects."""
    curves = [precisions(examples, found, label) for label in range(classes)]
    means = np.array([curve for curve in curves if curve is not None]).mean(0)
    return {
        "VOC_AP": float(means.mean()),
        "VOC_AP50": float(means[0]),
        "VOC_AP75": float(means[5]),
    }


def precisions(examples: Sequence[Example], found: Sequence[Found], label: int) -> Array | None:
    """Return a class's average precision at each IoU `(10,)`; None if there is no such object."""
    count = sum(thing.label == label for example in examples for thing in example.learned)
    if not count:
        return None
    scores, hits, misses = [np.zeros(0)], [np.zeros((0, 10))], [np.zeros((0, 10))]
    for example, each in zip(examples, found, strict=True):
        own = each.labels == label
        hit, miss = judged(example, each.boxes[own], label)
        scores.append(each.scores[own])
        hits.append(hit)
        misses.append(miss)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    true, false = (np.concatenate(part)[order].cumsum(0) for part in (hits, misses))
    recall, precision = true / count, true / np.maximum(true + false, 1e-9)
    return np.array([eleven_points(r, p) for r, p in zip(recall.T, precision.T, strict=True)])


def judged(example: Example, boxes: Array, label: int) -> tuple[Array, Array]:
    """Return which boxes `(N, 4)`, the surest first, hit an object, and which miss, `(N, 10)` each.

    A box goes to the object that it overlaps most. It is a hit if no better one was, and neither
    where the object is difficult.
    """
    things = [thing for thing in example.things if thing.label == label]
    hit, miss = np.zeros((len(boxes), 10)), np.ones((len(boxes), 10))
    taken = np.zeros((len(things), 10), bool)
    if not things:
        return hit, miss
    overlaps = ious(boxes, np.array([thing.box for thing in things]))
    for number, overlap in enumerate(overlaps):
        best = int(overlap.argmax())
        for place, threshold in enumerate(THRESHOLDS):
            if overlap[best] < threshold:
                break
            if things[best].ignored:
                miss[number, place] = 0
            elif not taken[best, place]:
                taken[best, place] = True
                hit[number, place], miss[number, place] = 1, 0
    return hit, miss


def ious(boxes: Array, others: Array) -> Array:
    """Return the intersection over union of each two boxes, `(N, M)`."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clip(0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others)]
    overlaps: Array = both / (areas[0][:, None] + areas[1][None] - both)
    return overlaps


def eleven_points(recall: Array, precision: Array) -> float:
    """Return the mean, over recalls of 0, 0.1 to 1, of the best precision from there on."""
    best = [precision[recall >= place].max(initial=0) for place in np.arange(0.0, 1.1, 0.1)]
    return float(np.mean(best))
