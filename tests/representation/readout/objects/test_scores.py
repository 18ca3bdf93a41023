"""Average precision is pycocotools', on files that it reads by itself."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

from representation.readout.objects.example import Example, KeypointScheme, Rle, Thing
from representation.readout.objects.finding import Found
from representation.readout.objects.scores import BOXES, evaluate, results, truth
from representation.readout.objects.voc_scores import THRESHOLDS, voc_scores

H, W = 120, 160


def random_mask(generator: np.random.Generator, box: np.ndarray) -> Rle:
    mask = np.zeros((H, W), np.uint8)
    x1, y1, x2, y2 = box.astype(int)
    mask[y1:y2, x1:x2] = generator.random((y2 - y1, x2 - x1)) < 0.9
    return dict(rle.encode(np.asfortranarray(mask)))


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    low = generator.uniform(0, 90, (count, 2)) * (W / 160, H / 160)
    return np.concatenate((low, low + generator.uniform(8, 50, (count, 2))), 1)


def random_data(seed: int, *, points: bool = False) -> tuple[list[Example], list[Found]]:
    """Return objects, and what was found: some of them, moved a little, and others."""
    generator = np.random.default_rng(seed)
    examples, found = [], []
    for number in range(8):
        boxes = random_boxes(generator, generator.integers(0, 6))
        labels = generator.integers(0, 3, len(boxes))
        keypoints = [
            np.concatenate(
                (generator.uniform(box[:2], box[2:], (4, 2)), generator.integers(0, 3, (4, 1))), 1
            )
            for box in boxes
        ]
        things = [
            Thing(
                tuple(box),
                0 if points else int(label),
                float((box[2] - box[0]) * (box[3] - box[1])),
                bool(generator.random() < 0.15),
                random_mask(generator, box),
                each if points else None,
            )
            for box, label, each in zip(boxes, labels, keypoints, strict=True)
        ]
        examples.append(Example(Path(f"{number}.png"), H, W, tuple(things)))
        moved = boxes + generator.normal(0, 3, boxes.shape)
        guessed = np.concatenate((moved, random_boxes(generator, 3))).clip(0, (W, H, W, H))
        guessed[:, 2:] = np.maximum(guessed[:, 2:], guessed[:, :2] + 2)
        count = len(guessed)
        guesses = np.concatenate((labels, generator.integers(0, 3, 3)))
        near = [each + generator.normal(0, 2, each.shape) for each in keypoints]
        near += [generator.uniform(0, 90, (4, 3)) for _ in range(count - len(near))]
        found.append(
            Found(
                guessed,
                np.sort(generator.random(count))[::-1].copy(),
                np.zeros(count) if points else guesses.astype(float),
                tuple(random_mask(generator, box) for box in guessed),
                np.array(near) if points else None,
            )
        )
    return examples, found


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_scores_equal_those_of_files_in_cocos_format(tmp_path: Path, kind: str) -> None:
    points = kind == "keypoints"
    examples, found = random_data(0, points=points)
    names = ["person"] if points else ["a", "b", "c"]
    scheme = KeypointScheme(("p", "q", "r", "s"), (0, 1, 2, 3), (0.05,) * 4) if points else None
    labelled, listed = truth(examples, names, scheme), results(found)
    ours, by_class = evaluate(labelled, listed, kind, scheme.deviations if scheme else None)
    # Written, read and scored independently of us.
    (tmp_path / "truth.json").write_text(json.dumps(labelled))
    kept = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
    fields = ("image_id", "category_id", "score", kept)
    (tmp_path / "found.json").write_text(json.dumps([{k: r[k] for k in fields} for r in listed]))
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "truth.json"))
        run = COCOeval(theirs, theirs.loadRes(str(tmp_path / "found.json")), kind)
        if points:
            run.params.kpt_oks_sigmas = np.array((0.05,) * 4)
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert 0.05 < ours["AP"] < 0.95
    assert list(ours.values()) == [value for value in run.stats if value > -1]
    assert set(by_class) == set(names)
    assert np.mean(list(by_class.values())) == pytest.approx(ours["AP"])


def test_scores_equal_torchmetrics_and_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    examples, found = random_data(1)
    ours, _ = evaluate(truth(examples, "abc"), results(found), "bbox")
    assert capsys.readouterr().out == ""
    metric = MeanAveragePrecision()
    metric.update(
        [
            {
                "boxes": torch.from_numpy(each.boxes),
                "scores": torch.from_numpy(each.scores),
                "labels": torch.from_numpy(each.labels).long(),
            }
            for each in found
        ],
        [
            {
                "boxes": torch.tensor([t.box for t in each.things]).view(-1, 4),
                "labels": torch.tensor([t.label for t in each.things], dtype=torch.int64),
                "iscrowd": torch.tensor([int(t.ignored) for t in each.things]),
                "area": torch.tensor([t.area for t in each.things]),
            }
            for each in examples
        ],
    )
    theirs = metric.compute()
    names = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
    for name, other in zip(BOXES, names, strict=False):
        assert ours.get(name, -1) == pytest.approx(float(theirs[other]), abs=1e-6)


def test_what_is_found_exactly_is_perfect_and_nothing_is_zero() -> None:
    examples, _ = random_data(2)
    exact = [
        Found(
            np.array([t.box for t in each.learned]).reshape(-1, 4),
            np.ones(len(each.learned)),
            np.array([t.label for t in each.learned], np.float64),
            tuple(t.mask for t in each.learned if t.mask is not None),
        )
        for each in examples
    ]
    for kind in ("bbox", "segm"):
        assert evaluate(truth(examples, "abc"), results(exact), kind)[0]["AP"] == pytest.approx(1)
    nothing = [Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0)) for _ in examples]
    scores, by_class = evaluate(truth(examples, "abc"), results(nothing), "bbox")
    assert scores["AP"] == 0
    assert set(by_class.values()) == {0}


def test_sizes_and_classes_without_objects_are_left_out() -> None:
    thing = Thing((10.0, 10.0, 20.0, 20.0), 1, 100.0)
    examples = [Example(Path("a.png"), H, W, (thing,))]
    found = [Found(np.array([[10.0, 10, 20, 20]]), np.ones(1), np.ones(1))]
    scores, by_class = evaluate(truth(examples, ["a", "b"]), results(found), "bbox")
    assert scores["AP"] == scores["APs"] == pytest.approx(1)
    assert "APl" not in scores
    assert list(by_class) == ["b"]


def slow_voc_ap(examples: list[Example], found: list[Found], label: int, iou: float) -> float:
    """VOC's devkit, one detection after another."""
    listed = sorted(
        (
            (float(score), number, tuple(box))
            for number, each in enumerate(found)
            for score, box, own in zip(each.scores, each.boxes, each.labels, strict=True)
            if own == label
        ),
        key=lambda each: -each[0],
    )
    objects = {n: [t for t in e.things if t.label == label] for n, e in enumerate(examples)}
    total = sum(not t.ignored for things in objects.values() for t in things)
    used, outcomes = set(), []
    for _, number, box in listed:
        best, place = 0.0, None
        for i, thing in enumerate(objects[number]):
            wide = min(box[2], thing.box[2]) - max(box[0], thing.box[0])
            high = min(box[3], thing.box[3]) - max(box[1], thing.box[1])
            if wide > 0 and high > 0:
                area = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, thing.box))
                overlap = wide * high / (area - wide * high)
                if overlap > best:
                    best, place = overlap, i
        if place is None or best < iou:
            outcomes.append(False)
        elif objects[number][place].ignored:
            continue
        else:
            outcomes.append((number, place) not in used)
            used.add((number, place))
    points = []
    for least in range(11):
        right, precisions = 0, [0.0]
        for done, outcome in enumerate(outcomes, 1):
            right += outcome
            if right / total >= least / 10 - 1e-12:
                precisions.append(right / done)
        points.append(max(precisions))
    return sum(points) / 11


def test_vocs_precision_equals_the_devkits() -> None:
    examples, found = random_data(3)
    scores = voc_scores(examples, found, 4)  # the last class has no object
    for name, thresholds in (("VOC_AP50", [0.5]), ("VOC_AP75", [0.75]), ("VOC_AP", THRESHOLDS)):
        each = [slow_voc_ap(examples, found, c, iou) for c in range(3) for iou in thresholds]
        assert scores[name] == pytest.approx(np.mean(each))
    assert 0.05 < scores["VOC_AP"] < 0.95
    nothing = [Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0)) for _ in examples]
    assert set(voc_scores(examples, nothing, 3).values()) == {0}
