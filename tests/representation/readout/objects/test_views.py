"""Boxes, masks and points go where the pixels go; batches depend on seed and number alone."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from representation.readout.objects.coco_format import read_coco
from representation.readout.objects.example import Example, Thing
from representation.readout.objects.finding import in_own_pixels, pasted
from representation.readout.objects.scores import results
from representation.readout.objects.settings import ObjectSettings
from representation.readout.objects.subset import label_share
from representation.readout.objects.views import ObjectBatches, fitted, load, permuted
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
Settings = Callable[..., ObjectSettings]


def batches(folder: Path, settings: ObjectSettings, wanted: str = "masks") -> ObjectBatches:
    data = read_coco(folder / "annotations.json", folder / "images", wanted, Counter())
    return ObjectBatches(data.examples, settings, wanted, data.keypoints, CPU)


def test_a_mirrored_and_resized_view_holds_its_squares(
    squares: Path, settings_of: Settings
) -> None:
    """The brightest pixels of a view are inside of its boxes, and of its masks."""
    make = batches(squares, settings_of(squares, short_sides=[64, 128, 96], long_side=200))
    seen = set()
    for number in range(8):
        batch = make(number)
        for image, target in zip(batch.images, batch.targets, strict=True):
            seen.add(tuple(image.shape[-2:]))
            coloured = (image.amax(0) - image.amin(0)) > 0.6
            inside = torch.zeros_like(coloured)
            for x1, y1, x2, y2 in target["boxes"].round().int().tolist():
                inside[y1:y2, x1:x2] = True
            assert (coloured == inside).float().mean() > 0.97
            painted = target["masks"].any(0) if len(target["masks"]) else inside
            assert (coloured == painted).float().mean() > 0.97
    assert {size[0] for size in seen} == {64, 96, 128}


def test_left_points_of_a_mirrored_view_are_right_ones(
    squares: Path, settings_of: Settings
) -> None:
    make = batches(squares, settings_of(squares, short_sides=[128], long_side=160), "keypoints")
    for number in range(3):
        for target in make(number).targets:
            for box, points in zip(target["boxes"], target["keypoints"], strict=True):
                left, right = points
                torch.testing.assert_close(left[:2], box[:2] + 1)  # two pixels from one
                assert left[0] < right[0]


def test_batches_depend_on_seed_and_number_alone(squares: Path, settings_of: Settings) -> None:
    given = {"short_sides": [48, 64]}
    make, again = (batches(squares, settings_of(squares, **given)) for _ in range(2))
    other = batches(squares, settings_of(squares, seed=1, **given))
    first, second, third = make(3), again(3), other(3)
    assert all(torch.equal(a, b) for a, b in zip(first.images, second.images, strict=True))
    assert not all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(first.images, third.images, strict=True)
    )


def test_all_images_are_seen_once_in_an_epoch(squares: Path, settings_of: Settings) -> None:
    make = batches(squares, settings_of(squares, flip=False))
    seen = [image for number in range(3) for image in make(number).images]
    pairs = [(a, b) for i, a in enumerate(seen) for b in seen[:i]]
    assert len(seen) == 6
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_sizes_fit_both_sides() -> None:
    assert fitted(480, 640, 240, 1000) == (240, 320)
    assert fitted(480, 640, 480, 320) == (240, 320)
    assert fitted(640, 480, 800, 1333) == (1067, 800)
    assert fitted(1, 1000, 10, 50) == (1, 50)


def test_labels_for_another_size_are_an_error(squares: Path) -> None:
    example = Example(squares / "images" / "1.png", 64, 81, ())
    with pytest.raises(UserError, match="is 80x64, but its labels are for 81x64"):
        load(example)


def test_permuted_images_have_each_others_objects() -> None:
    examples = [
        Example(Path(f"{n}.png"), 10 * n, 20 * n, (Thing((0, 0, n, n), n, n * n),))
        for n in range(1, 6)
    ]
    changed = permuted(examples, 0)
    labels = [each.things[0].label for each in changed]
    assert sorted(labels) == [1, 2, 3, 4, 5]
    assert all(label != n for n, label in enumerate(labels, 1))
    for each, label in zip(changed, labels, strict=True):
        assert each.things[0].box[2] / each.width == pytest.approx(label / (20 * label))


def test_what_is_found_comes_back_in_the_images_own_pixels() -> None:
    raw = {
        "boxes": torch.tensor([[1.0, 2, 5, 6], [2, 2, 4, 4]]),
        "scores": torch.tensor([0.2, 0.9]),
        "labels": torch.tensor([3, 1]),
        "masks": torch.ones(2, 1, 28, 28),
        "keypoints": torch.tensor([[[1.0, 2, 1]], [[2, 3, 1]]]),
        "keypoints_scores": torch.tensor([[0.5], [0.7]]),
    }
    found = in_own_pixels(raw, (10, 20), (300, 400))
    np.testing.assert_allclose(found.boxes, [[40, 60, 80, 120], [20, 60, 100, 180]])
    assert found.labels.tolist() == [1, 3]
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[0], [[40, 90, 0.7]], rtol=1e-6)
    assert found.masks is not None
    assert rle.toBbox(found.masks[0]).tolist() == pytest.approx([50, 75, 40, 60])


def test_nothing_found_is_nothing_with_masks_and_points_too() -> None:
    raw = {
        "boxes": torch.zeros(0, 4),
        "scores": torch.zeros(0),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 1, 28, 28),
        "keypoints": torch.zeros(0, 2, 3),
        "keypoints_scores": torch.zeros(0, 2),
    }
    found = in_own_pixels(raw, (10, 20), (30, 40))
    assert found.masks == ()
    assert found.boxes.shape == (0, 4)
    assert found.keypoints is not None
    assert found.keypoints.shape == (0, 2, 3)
    assert results([found]) == []


def test_masks_survive_being_cut_out_and_pasted_back() -> None:
    """What a perfect network would learn; torchvision's pasting leaves 0.93, 0.80 and 0.81."""
    rows, columns = np.mgrid[:128, :160]
    for high, wide, least in ((50, 80, 0.96), (30, 20, 0.88), (14, 18, 0.87)):
        mask = ((rows - 60.3) * 2 / high) ** 2 + ((columns - 70.8) * 2 / wide) ** 2 < 1
        x, y, w, h = rle.toBbox(rle.encode(np.asfortranarray(mask, np.uint8)))
        box = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32)
        seen = torch.from_numpy(mask[None, None].astype(np.uint8))
        seen = torch.nn.functional.interpolate(seen, (64, 80), mode="nearest-exact")[0]
        learned = project_masks_on_boxes(seen, box / 2, torch.zeros(1, dtype=torch.int64), 28)
        back = rle.decode(pasted(learned[None], box, (128, 160), (1.0, 1.0))) > 0
        assert (back & mask).sum() / (back | mask).sum() > least
    outside = torch.tensor([[-30.0, -30.0, -10.0, -10.0]])
    assert not rle.decode(pasted(torch.ones(1, 1, 28, 28), outside, (20, 30), (0, 0))).any()
    corner = torch.tensor([[-10.0, -10.0, 10.0, 10.0]])
    found = rle.decode(pasted(torch.ones(1, 1, 28, 28), corner, (20, 30), (0, 0)))
    assert (found.sum(), found[:10, :10].sum()) == (100, 100)


def test_label_shares_are_fixed_and_lie_in_one_another() -> None:
    examples = [Example(Path(f"a/{n}.png"), 9, 9, ()) for n in range(40)]
    shares = [label_share(examples, percent) for percent in (1, 5, 50, 100)]
    assert [len(each) for each in shares] == [1, 2, 20, 40]
    for small, large in pairwise(shares):
        assert set(small) <= set(large)
    again = label_share(examples[::-1], 50)
    assert set(again) == set(shares[2])
    assert set(label_share(examples, 50, seed=1)) != set(shares[2])
