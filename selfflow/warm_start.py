"""Flow of one pair of frames after another, each begun where the one before leads to."""

import torch
from torch import Tensor

from selfflow.flow import project_forward
from selfflow.models import FlowModel
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError


class FlowInTurn:
    """A model's flow for pairs of frames that are given one after the other.

    With `warm_start`, a pair whose first frame is the second of the pair before starts from the
    flow of that pair, projected forward (RAFT, section 4.3); all others start from zero, so that
    nothing need be known about where one video ends and the next begins.

    Attributes:
        warm_started: how many pairs did not start from zero.

    Args:
        model: see `selfflow.models.load`.
        iterations: of the network.
        warm_start: only networks can; UserError for others.
        name: the model's, for the error.
    """

    def __init__(
        self, model: FlowModel, iterations: int, *, warm_start: bool = False, name: str = "model"
    ) -> None:
        if warm_start and not isinstance(model, RAFT):
            raise UserError(
                f"{name} cannot be started from a flow: warm start needs a network (RAFT)"
            )
        self.model = model
        self.iterations = iterations
        self.warm_start = warm_start
        self.warm_started = 0
        self._before: tuple[Tensor, Tensor] | None = None

    def __call__(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Return the flow from `image1` to `image2`, `(B, 2, H, W)` pixels."""
        initial = self._initial(image1)
        if initial is None:
            flow = self.model(image1, image2, self.iterations)
        else:
            assert isinstance(self.model, RAFT)
            flow = self.model(image1, image2, self.iterations, initial)
            self.warm_started += 1
        self.remember(image2, flow)
        return flow

    def remember(self, image2: Tensor, flow: Tensor) -> None:
        """Take `flow` to `image2`, found earlier, for that of the pair before."""
        if self.warm_start:
            self._before = (image2, flow)

    def _initial(self, image1: Tensor) -> Tensor | None:
        if self._before is None or not torch.equal(self._before[0], image1):
            return None
        return project_forward(self._before[1])
