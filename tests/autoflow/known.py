"""A small target whose flow is known, small settings, and made-up trials."""

import numpy as np

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.objective import Measurement, Metric
from autoflow.search.pairs import PairSettings
from autoflow.search.results import TrialResult
from autoflow.search.settings import Base, SearchSettings, Stage, Trials
from autoflow.space import defaults, near, searched
from autoflow.train import SceneTraining
from selfflow.sequences import FlowLabel, Sequence
from selfflow.supervised import TrainSettings
from selfflow.video import Target

HEIGHT, WIDTH = 48, 64


class Moving(Sequence):
    """A smooth texture that moves 2 px right and 1 px down in each frame."""

    def __init__(self, name: str = "moving", frames: int = 6, labelled: bool = True) -> None:
        self.name = name
        self.frames = frames
        self._labelled = labelled

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int) -> np.ndarray:
        y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
        x, y = x - 2 * index, y - index
        parts = [np.sin(x / 3 + 1), np.sin(y / 2.5), np.sin((x + y) / 5) * np.cos(x / 7 - y / 4)]
        return np.stack([127 + 100 * part for part in parts], -1).astype(np.uint8)

    def flow(self, index: int) -> FlowLabel | None:
        if not self._labelled:
            return None
        flow = np.broadcast_to(np.float32([2, 1]), (HEIGHT, WIDTH, 2)).copy()
        return FlowLabel(flow, np.ones((HEIGHT, WIDTH), bool), None)

    @property
    def labelled(self) -> range:
        return range(self.frames - 1 if self._labelled else 0)


def moving_target(labelled: bool = True) -> Target:
    return Target("moving", (Moving(labelled=labelled),))


def small_settings(target: str, trials: int = 3) -> SearchSettings:
    optimisation = TrainSettings(batch_size=1, crop=(32, 32), iterations=1, learning_rate=1e-4)
    return SearchSettings(
        target=target,
        trials=trials,
        startup=2,
        only=("effects",),
        device="cpu",
        metric=Metric(iterations=1),
        pairs=PairSettings(count=2, side=32),
        training=SceneTraining(architecture="raft-small", optimisation=optimisation),
        base=Base(steps=2),
        trial=Trials(steps=2, rungs=(0.5, 1.0), rung_pairs=(), pruner="none", pictures=0),
        final=Stage(steps=2),
        final_start="shared",
    )


def made_up_trials(count: int = 8, labelled: bool = True) -> list[TrialResult]:
    """Trials whose Ω and AEPE agree perfectly; number 2 is pruned, number 5 failed."""
    space = searched(Hyperparameters())
    trials = []
    for number in range(count):
        state = {2: "pruned", 5: "failed"}.get(number, "complete")
        point = defaults(space) if number == 0 else near(space, 0.2, 0, number)
        level = 3 - 0.2 * ((number * 3) % count)
        course = [
            Measurement(step, level + 1 / step, level, level, 0.1, 0.01, 0.8, level / 2)
            for step in (10, 20)
        ]
        if not labelled:
            course = [Measurement(**{**c.as_dict(), "aepe": None}) for c in course]
        course = course[: {"pruned": 1, "failed": 0}.get(state, 2)]
        reason = "NaN <in step> 3" if state == "failed" else ""
        trials.append(TrialResult(number, state, point, tuple(course), 2.0, reason))
    return trials
