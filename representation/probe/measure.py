"""How well frozen features tell the classes of a few labelled images."""

import torch
from torch import Tensor

from representation.encoder import Encoder
from representation.pictures.colours import at_pixels
from representation.probe.classifiers import Classifier, neighbours, ridge
from representation.probe.images import IGNORED, LabelledImage, LabelledImages
from representation.probe.settings import ProbeSettings
from representation.readout.dense.confusion import confusion, mean_iou, pixel_accuracy

KNOWN = 10_000  # feature cells that are learned from, at most; for the memory of neighbours


@torch.no_grad()
def probe(encoder: Encoder, images: LabelledImages, settings: ProbeSettings) -> dict[str, float]:
    """Return how well a classifier of an encoder's features does on images it has not seen.

    Of images with label maps each feature cell is learned with the label of most of its pixels, and
    scores are interpolated to all pixels of the others: "probe_miou" is the mean intersection over
    union of the classes that are there or are found, all images together, "probe_accuracy" the
    share of pixels. Of images with classes the mean of the features is learned: "probe_accuracy".

    Args:
        encoder: in evaluation mode.
        images: on any device.
        settings: which classifier.
    """
    device = encoder.mean.device
    learned = [_examples(encoder, each, device, images.classes) for each in images.train]
    features, labels = (torch.cat(part) for part in zip(*learned, strict=True))
    kept = torch.linspace(0, len(labels) - 1, min(KNOWN, len(labels)), device=device).long()
    classifier = _classifier(features[kept], labels[kept], images.classes, settings)
    table = torch.zeros(images.classes, images.classes, dtype=torch.long, device=device)
    for each in images.test:
        wanted = each.labels.to(device)
        predicted = _predicted(encoder, classifier, each, device)
        table += confusion(predicted, wanted, images.classes, IGNORED)
    found = {"probe_accuracy": pixel_accuracy(table).item()}
    if images.dense:
        found["probe_miou"] = mean_iou(table).item()
    return found


def _classifier(
    features: Tensor, labels: Tensor, classes: int, settings: ProbeSettings
) -> Classifier:
    if settings.kind == "neighbours":
        return neighbours(features, labels, classes, settings.neighbours)
    return ridge(features, labels, classes, settings.ridge)


def _examples(
    encoder: Encoder, image: LabelledImage, device: torch.device, classes: int
) -> tuple[Tensor, Tensor]:
    """Return features `(N, C)` and labels `(N,)` that are learned from an image."""
    features = encoder(image.image.to(device))
    labels = image.labels.to(device)
    if labels.ndim == 0:
        return features.mean((2, 3)), labels[None]
    cells = cell_labels(labels, encoder, classes).flatten()
    known = cells != IGNORED
    return features[0].flatten(1).T[known], cells[known]


def cell_labels(labels: Tensor, encoder: Encoder, classes: int) -> Tensor:
    """Return the label of most of the pixels nearest to each cell, `(h, w)`.

    Args:
        labels: of the pixels, `(H, W)`; IGNORED counts as a label, too.
        encoder: says where its cells lie.
        classes: labels are below.
    """
    height, width = labels.shape
    stride, offset = encoder.stride, encoder.offset
    cells = -(-height // stride), -(-width // stride)
    row, column = (
        ((torch.arange(size, device=labels.device) - offset) / stride)
        .round()
        .long()
        .clamp(0, count - 1)
        for size, count in zip((height, width), cells, strict=True)
    )
    place = row[:, None] * cells[1] + column
    counts = torch.zeros(cells[0] * cells[1], classes + 1, device=labels.device)
    index = place.flatten() * (classes + 1) + (labels.flatten() - IGNORED)
    counts.view(-1).scatter_add_(0, index, torch.ones_like(index, dtype=counts.dtype))
    return (counts.argmax(1) + IGNORED).view(cells)


def _predicted(
    encoder: Encoder, classifier: Classifier, image: LabelledImage, device: torch.device
) -> Tensor:
    """Return the predicted label of each pixel, `(H, W)`, or of the image, `()`."""
    features = encoder(image.image.to(device))
    if image.labels.ndim == 0:
        return classifier(features.mean((2, 3))).argmax(1)[0]
    scores = classifier(features[0].flatten(1).T)
    scores = scores.T.reshape(1, -1, *features.shape[2:])
    return at_pixels(scores, encoder, image.image.shape[-2:])[0].argmax(0)
