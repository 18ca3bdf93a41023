"""COCO's average precision and recall, by pycocotools."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from representation.readout.objects.example import Example, KeypointScheme
from representation.readout.objects.finding import Found

BOXES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
POINTS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def truth(
    examples: Sequence[Example], classes: Sequence[str], scheme: KeypointScheme | None = None
) -> dict[str, Any]:
    """Return labelled images in COCO's format, numbered from 1 as classes and objects are."""
    annotations: list[dict[str, Any]] = []
    for number, example in enumerate(examples, 1):
        for thing in example.things:
            x1, y1, x2, y2 = thing.box
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": thing.label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": thing.area,
                "iscrowd": int(thing.ignored),
            }
            if thing.mask is not None:
                annotation["segmentation"] = as_text(thing.mask)
            if thing.keypoints is not None:
                points = thing.keypoints - np.array((0.5, 0.5, 0))
                annotation["keypoints"] = points.reshape(-1).tolist()
                annotation["num_keypoints"] = int((thing.keypoints[:, 2] > 0).sum())
            annotations.append(annotation)
    categories: list[dict[str, Any]] = [
        {"id": number, "name": name} for number, name in enumerate(classes, 1)
    ]
    if scheme is not None:
        categories[0]["keypoints"] = list(scheme.names)
    images = [
        {"id": number, "file_name": each.image.name, "height": each.height, "width": each.width}
        for number, each in enumerate(examples, 1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def results(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return what was found in images in COCO's format of results, numbered as in `truth`."""
    listed = []
    for number, image in enumerate(found, 1):
        for i, ((x1, y1, x2, y2), score) in enumerate(
            zip(image.boxes.tolist(), image.scores.tolist(), strict=True)
        ):
            result: dict[str, Any] = {
                "image_id": number,
                "category_id": int(image.labels[i]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            if image.masks is not None:
                result["segmentation"] = as_text(image.masks[i])
            if image.keypoints is not None:
                points = image.keypoints[i] - np.array((0.5, 0.5, 0))
                result["keypoints"] = points.reshape(-1).tolist()
            listed.append(result)
    return listed


def as_text(mask: Mapping[str, Any]) -> dict[str, Any]:
    """Return a packed mask as JSON can hold it."""
    return {"size": list(mask["size"]), "counts": mask["counts"].decode()}


def evaluate(
    labelled: Mapping[str, Any],
    listed: Sequence[Mapping[str, Any]],
    kind: str,
    deviations: Sequence[float] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return COCO's numbers, and the AP of each class.

    Numbers that are not defined are left out: of sizes and classes that no object has. Where
    nothing was found, what is defined is zero.

    Args:
        labelled: as `truth` gives it.
        listed: as `results` gives it.
        kind: "bbox", "segm" or "keypoints": what is compared.
        deviations: of the keypoints, see `KeypointScheme`.
    """
    with silence():
        run = COCOeval(_opened(labelled), _with_results(labelled, listed, kind), kind)
        if deviations is not None:
            run.params.kpt_oks_sigmas = np.array(deviations)
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = POINTS if kind == "keypoints" else BOXES
    numbers = {name: float(value) for name, value in zip(names, run.stats, strict=True)}
    by_class = {}
    for number, category in enumerate(labelled["categories"]):
        precision = run.eval["precision"][:, :, number, 0, -1]  # all sizes, most detections
        if (precision > -1).any():
            by_class[str(category["name"])] = float(precision[precision > -1].mean())
    return {name: value for name, value in numbers.items() if value > -1}, by_class


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what pycocotools prints off standard output, which is for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _opened(dataset: Mapping[str, Any]) -> COCO:
    coco = COCO()
    # Copies, because COCOeval writes into annotations.
    coco.dataset = {**dataset, "annotations": [dict(each) for each in dataset["annotations"]]}
    coco.createIndex()
    return coco


def _with_results(
    labelled: Mapping[str, Any], listed: Sequence[Mapping[str, Any]], kind: str
) -> COCO:
    """Return results as pycocotools' `loadRes` does, which takes no empty list."""
    if listed:
        return _opened(labelled).loadRes([_only(each, kind) for each in listed])
    return _opened({**labelled, "annotations": []})


def _only(result: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a result with what is compared alone; `loadRes` goes by the first key it knows."""
    others = {"bbox", "segmentation", "keypoints"} - {
        {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
    }
    return {key: value for key, value in result.items() if key not in others}
