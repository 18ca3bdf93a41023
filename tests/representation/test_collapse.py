import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from representation.collapse import CollapseWatch, spread
from selfflow.runs.loop import Task


def test_spread_is_one_for_all_directions_and_zero_for_one():
    vectors = torch.randn(4, 16, 20, 20)
    assert spread(vectors) == pytest.approx(1, abs=0.01)
    assert spread(vectors[:1, :, :1, :1].expand(4, 16, 20, 20)) == pytest.approx(0, abs=1e-3)
    unit = F.normalize(vectors, dim=1)
    by_channel = unit.std((0, 2, 3), unbiased=False).square().sum().sqrt()
    torch.testing.assert_close(spread(3 * vectors), by_channel)


class Collapsing(Task[None]):
    def __init__(self) -> None:
        self.modules = {"network": nn.Linear(1, 1)}
        self.updates = 0

    def step(self, batch: None, step: int) -> dict[str, Tensor]:
        return {"loss": torch.ones(()), "spread": torch.tensor(1.0 - 0.1 * step)}

    def after_step(self, step: int) -> None:
        self.updates += 1


def test_the_watch_warns_once_and_passes_everything_on(capsys: pytest.CaptureFixture[str]):
    task = Collapsing()
    watch = CollapseWatch(task, 0.35, every=2)
    for step in range(10):
        assert watch.step(None, step)["spread"] == 1.0 - 0.1 * step
        watch.after_step(step)
        if step < 7:
            assert capsys.readouterr().err == ""
    message = capsys.readouterr().err
    assert "after step 8" in message
    assert message.count("collapsing") == 1
    assert task.updates == 10
    assert watch.modules is task.modules
