import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from representation.readout.dense import confusion

CLASSES, IGNORE = 7, 255


def maps(seed: int, present: int = CLASSES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, present, (4, 20, 30), generator=generator)
    noise = torch.randint(0, present, truth.shape, generator=generator)
    found = torch.where(torch.rand(truth.shape, generator=generator) < 0.6, truth, noise)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = IGNORE
    return found, truth


def matrix(found: Tensor, truth: Tensor) -> Tensor:
    # Added up over images, as in an evaluation.
    parts = zip(found, truth, strict=True)
    return torch.stack([confusion.confusion(a, b, CLASSES, IGNORE) for a, b in parts]).sum(0)


@pytest.mark.parametrize("present", [CLASSES, 4])
def test_scores_equal_torchmetrics(present: int) -> None:
    found, truth = maps(0, present)
    total = matrix(found, truth)
    options = {"num_classes": CLASSES, "ignore_index": IGNORE}
    every = MulticlassJaccardIndex(average="none", **options)(found, truth)
    iou = confusion.class_iou(total)
    assert iou.isnan().tolist() == [number >= present for number in range(CLASSES)]
    torch.testing.assert_close(iou.nan_to_num(0).float(), every)
    mean = MulticlassJaccardIndex(average="macro", **options)(found, truth)
    torch.testing.assert_close(confusion.mean_iou(total).float(), mean)
    accuracy = MulticlassAccuracy(average="macro", **options)(found, truth)
    torch.testing.assert_close(confusion.mean_accuracy(total).float(), accuracy)
    pixels = MulticlassAccuracy(average="micro", **options)(found, truth)
    torch.testing.assert_close(confusion.pixel_accuracy(total).float(), pixels)


def test_a_class_that_is_found_but_not_there_has_iou_0_and_no_accuracy() -> None:
    total = confusion.confusion(torch.tensor([0, 0, 2]), torch.tensor([0, 0, 0]), 4, IGNORE)
    assert confusion.class_iou(total).nan_to_num(-1).tolist() == [2 / 3, -1, 0, -1]
    assert confusion.mean_iou(total) == pytest.approx(1 / 3)
    assert confusion.mean_accuracy(total) == pytest.approx(2 / 3)


def test_ignored_pixels_count_nowhere() -> None:
    found, truth = maps(1)
    other = torch.where(truth == IGNORE, (found + 1) % CLASSES, found)
    assert torch.equal(matrix(found, truth), matrix(other, truth))
