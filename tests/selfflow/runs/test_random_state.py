import random
from pathlib import Path

import numpy as np
import torch

from selfflow.runs.random_state import random_state, restore_random_state


def draw() -> list[float]:
    # An odd number of normal numbers: the generators keep the second half of a pair.
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.randn()),  # noqa: NPY002
        float(torch.rand(())),
        float(torch.randn(())),
    ]


def test_the_generators_go_on_where_they_were_after_a_checkpoint(tmp_path: Path) -> None:
    draw()
    torch.save(random_state(), tmp_path / "state.pt")
    expected = [draw(), draw()]
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [draw(), draw()] == expected
