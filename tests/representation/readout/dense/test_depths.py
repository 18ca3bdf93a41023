import math
from pathlib import Path

import numpy as np
import pytest
import torch

from representation.readout.dense.depths import LOWEST, Depths
from representation.readout.dense.sources import Stored
from selfflow.runs.errors import UserError


def examples(count: int, size: tuple[int, int] = (6, 8)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        truth = 0.5 + 9 * torch.rand(size, generator=generator)
        found = truth + torch.randn(size, generator=generator)
        truth[torch.rand(size, generator=generator) < 0.3] = 0
        made.append((found[None], truth))
    made[0][1].zero_()  # an image without any known depth
    return made


def test_scores_equal_loops_over_pixels() -> None:
    target, made = Depths(0.001, 10.0), examples(4)
    scores = target.scores(torch.stack([target.tally(*each) for each in made]).sum(0))
    squares, relative, near, roots = [], [], [], []
    for found, truth in made:
        own = []
        for f, t in zip(found.flatten().tolist(), truth.flatten().tolist(), strict=True):
            f = min(max(f, LOWEST), 10.0)
            if t == 0:
                continue
            own.append((f - t) ** 2)
            relative.append(abs(f - t) / t)
            near.append(max(f / t, t / f) < 1.25)
        squares += own
        if own:
            roots.append(math.sqrt(sum(own) / len(own)))
    assert scores["rmse_pixel"] == pytest.approx(math.sqrt(np.mean(squares)))
    assert scores["rmse_image"] == pytest.approx(np.mean(roots))
    assert scores["absrel"] == pytest.approx(np.mean(relative))
    assert scores["delta1"] == pytest.approx(np.mean(near))
    assert scores["mean_absolute"] == pytest.approx(np.mean(np.sqrt(squares)))
    assert scores["rmse_image"] != pytest.approx(scores["rmse_pixel"])
    assert next(iter(scores)) == "rmse_image"


def test_the_loss_is_the_mean_error_of_what_is_known() -> None:
    target = Depths(0.001, 10.0)
    outputs = torch.tensor([[[[1.0, 5.0, 2.0]]]], requires_grad=True)
    loss = target.loss(outputs, torch.tensor([[[3.0, 0.0, 2.5]]]))
    assert loss.item() == pytest.approx((2 + 0.5) / 2)
    loss.backward()
    assert outputs.grad.flatten().tolist() == [-0.5, 0, -0.5]  # type: ignore[union-attr]
    assert target.loss(outputs, torch.zeros(1, 1, 3)) == 0


def test_eigens_crop_leaves_the_border_out() -> None:
    whole, middle = Depths(0.001, 10.0), Depths(0.001, 10.0, eigen=True)
    truth = torch.zeros(480, 640)
    truth[45:471, 41:601] = 2
    found = torch.full((1, 480, 640), 3.0)
    assert torch.equal(whole.tally(found, truth), middle.tally(found, truth))
    truth[44], truth[471], truth[:, 40], truth[:, 601] = 9, 9, 9, 9
    assert middle.tally(found, truth)[2] == (471 - 45) * (601 - 41)
    assert not torch.equal(whole.tally(found, truth), middle.tally(found, truth))
    with pytest.raises(UserError, match="640x480"):
        middle.tally(found[..., :100], truth[:, :100])


def test_depth_is_read_in_metres_and_0_where_it_is_not_known(tmp_path: Path, write_image) -> None:
    values = np.array([[0, 1500, 9999, 10001]], np.uint16)
    image = write_image(tmp_path / "depth.png", values)
    read = Depths(0.001, 10.0).read(image)
    assert read.tolist() == [pytest.approx([0, 1.5, 9.999, 0])]
    assert Depths(1 / 256, 100.0).read(image)[0, 1] == pytest.approx(1500 / 256)
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "depths.mat", "w") as file:
        file["depths"] = np.array([[[1.0, np.nan], [np.inf, 2.0], [-1.0, 11.0]]], np.float32)
    read = Depths(0.001, 10.0).read(Stored(tmp_path / "depths.mat", "depths", 0))
    assert read.tolist() == [[1, 0, 0], [0, 2, 0]]
