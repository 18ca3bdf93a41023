import pytest
import torch

from selfflow.runs.means import Means


def test_means_are_of_what_was_added_since_they_were_last_taken() -> None:
    means = Means()
    for value in (1.0, 2.0, 6.0):
        means.add({"loss": torch.tensor(value), "twice": torch.tensor(2 * value)})
    assert means.count == 3
    assert means.take() == pytest.approx({"loss": 3, "twice": 6})
    assert means.count == 0
    means.add({"loss": torch.tensor(5.0)})
    assert means.take() == {"loss": 5}
