import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from representation.readout.objects.coco_format import keypoint_scheme, packed, read_coco
from representation.readout.objects.example import SMALLEST, clipped
from selfflow.runs.errors import UserError


def change(folder: Path, **changed: Any) -> Path:
    file = folder / "annotations.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    return file


def test_boxes_masks_and_classes_are_those_of_the_file(squares: Path) -> None:
    dropped: Counter[str] = Counter()
    data = read_coco(squares / "annotations.json", squares / "images", "masks", dropped)
    content = json.loads((squares / "annotations.json").read_text())
    assert data.classes == ("red", "blue")
    assert [len(each.things) for each in data.examples] == [
        sum(a["image_id"] == n for a in content["annotations"]) for n in range(1, 7)
    ]
    assert not data.examples[1].things
    thing, annotation = data.examples[0].things[0], content["annotations"][0]
    x, y, side, _ = annotation["bbox"]
    assert thing.box == (x, y, x + side, y + side)
    assert thing.label == annotation["category_id"] - 7
    expected = np.zeros((64, 80), np.uint8)
    expected[y : y + side, x : x + side] = 1
    assert thing.mask is not None
    assert (rle.decode(thing.mask) == expected).all()
    assert not dropped


def test_keypoints_are_those_of_the_only_class_that_has_some(squares: Path) -> None:
    file = squares / "annotations.json"
    data = read_coco(file, squares / "images", "keypoints", Counter())
    assert data.classes == ("red",)
    assert data.keypoints is not None
    assert data.keypoints.flipped == (1, 0)
    points = next(t.keypoints for e in data.examples for t in e.things)
    first = next(a for a in json.loads(file.read_text())["annotations"] if a["category_id"] == 7)
    assert points is not None
    np.testing.assert_allclose(points[0], np.add(first["keypoints"][:3], (0.5, 0.5, 0)))


def test_polygons_and_both_kinds_of_run_lengths_are_the_same_mask() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 1
    polygon = packed([[2, 1, 7, 1, 7, 4, 2, 4]], (6, 8), "a")
    lengths = [1 + 2 * 6] + [3, 3] * 4 + [3, 2 + 6]
    uncompressed = packed({"size": [6, 8], "counts": lengths}, (6, 8), "a")
    text = rle.encode(np.asfortranarray(mask))["counts"].decode()
    compressed = packed({"size": [6, 8], "counts": text}, (6, 8), "a")
    for each in (polygon, uncompressed, compressed):
        assert (rle.decode(each) == mask).all()


def test_points_without_a_left_or_right_stay_when_mirrored() -> None:
    scheme = keypoint_scheme({"keypoints": ["nose", "left_eye", "right_eye", "left_ear"]})
    assert scheme.flipped == (0, 2, 1, 3)
    assert len(scheme.deviations) == 4


def test_boxes_are_clipped_and_what_is_empty_or_outside_is_counted() -> None:
    dropped: Counter[str] = Counter()
    assert clipped((-5, 2, 4, 90), 10, 20, dropped, "a") == (0, 2, 4, 10)
    assert clipped((3, 3, 3, 8), 10, 20, dropped, "a") is None
    assert clipped((9, 3, 3, 8), 10, 20, dropped, "a") is None
    assert clipped((25, 3, 30, 8), 10, 20, dropped, "a") is None
    assert clipped((20 - SMALLEST / 2, 3, 30, 8), 10, 20, dropped, "a") is None
    assert dropped == {"empty": 2, "outside": 2}
    with pytest.raises(UserError, match="finite"):
        clipped((float("nan"), 0, 1, 1), 10, 20, dropped, "a")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"annotations": [{"id": 1, "image_id": 99}]}, "unknown image, 99"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 3}]}, "unknown class, 3"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 7}]}, "KeyError: 'bbox'"),
        ({"annotations": 5}, "no list of annotations"),
        ({"images": []}, "unknown image"),
        ({"images": [], "annotations": []}, "no images"),
        ({"images": [{"id": 1, "file_name": "a", "height": "x", "width": 1}]}, "ValueError"),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9]}]},
            "has no mask",
        ),
        (
            {
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 7,
                        "bbox": [1, 1, 9, 9],
                        "segmentation": {"size": [9, 9], "counts": [81]},
                    }
                ]
            },
            "another size",
        ),
    ],
)
def test_a_broken_file_is_one_line(squares: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_coco(change(squares, **changed), squares / "images", "masks", Counter())


def test_a_missing_image_and_a_class_nobody_learned_are_errors(squares: Path) -> None:
    file = squares / "annotations.json"
    with pytest.raises(UserError, match="unknown to what is learned from"):
        read_coco(file, squares / "images", "boxes", Counter(), ("red",))
    (squares / "images" / "3.png").unlink()
    with pytest.raises(UserError, match=r"3\.png: no such image \(1 are missing"):
        read_coco(file, squares / "images", "boxes", Counter())
