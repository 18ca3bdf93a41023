"""Training with labels: RAFT's sequence loss on pairs whose flow is known.

Used wherever labels come from: rendered scenes (`autoflow train`) or a labelled data set.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfflow.colors import flow_to_color
from selfflow.losses import masked_mean, sequence_loss
from selfflow.metrics import endpoint_error
from selfflow.pairs import Pairs
from selfflow.raft import RAFT
from selfflow.runs.config import Config
from selfflow.runs.loop import LoopSettings, Result, Task, Wish, fit
from selfflow.runs.run import Run
from selfflow.runs.schedule import constant_then_halve, one_cycle

Side = Annotated[int, Field(ge=16)]
Size = tuple[Side, Side]  # height and width in pixels


class TrainSettings(Config):
    """How a network is trained with labels. The defaults are RAFT's for a small batch."""

    loop: LoopSettings = LoopSettings()
    batch_size: int = Field(4, ge=1, description="pairs in a batch")
    crop: Size = Field((320, 448), description="height and width that the network sees, px")
    iterations: int = Field(12, ge=1, description="of RAFT; all are supervised")
    learning_rate: float = Field(2.5e-4, gt=0, description="peak")
    schedule: Literal["one_cycle", "constant_then_halve", "constant"] = Field(
        "one_cycle",
        description="5 % warm-up then linear to zero; SMURF's: halved in the last sixth; no change",
    )
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    gamma: float = Field(
        0.8, gt=0, le=1, description="weight of each iteration to that of the next"
    )
    max_flow: float = Field(400.0, gt=0, description="longer labels are left out, px")
    robust: bool = Field(False, description="PWC-Net's robust distance in place of L1")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "constant_then_halve":
            return constant_then_halve(step, self.loop.steps, self.learning_rate)
        return one_cycle(step, self.loop.steps, self.learning_rate)


class Supervised(Task[Pairs]):
    """A step on labelled pairs."""

    def __init__(self, network: RAFT, settings: TrainSettings) -> None:
        self.network = network
        self.settings = settings
        self.modules = {"network": network}
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def step(self, batch: Pairs, step: int) -> dict[str, Tensor]:
        """Return the sequence loss, and the last iteration's end-point error as `epe`."""
        if batch.flow is None:
            raise ValueError("supervised training needs pairs with flow")
        valid = batch.valid
        if valid is None:
            valid = torch.ones_like(batch.flow[:, :1], dtype=torch.bool)
        settings = self.settings
        predictions = self.network.predictions(batch.image1, batch.image2, settings.iterations)
        loss = sequence_loss(
            predictions,
            batch.flow,
            valid,
            gamma=settings.gamma,
            max_flow=settings.max_flow,
            robust=settings.robust,
        )
        last = predictions[-1].detach()
        flow = torch.where(valid, batch.flow, 0)
        self._last = (batch.image1[:1], flow[:1], last[:1])
        return {"loss": loss, "epe": masked_mean(endpoint_error(last, flow), valid)}

    def pictures(self) -> dict[str, Tensor]:
        """Return a frame, its label and the prediction, side by side."""
        if self._last is None:
            return {}
        frame, label, prediction = self._last
        colors = flow_to_color(torch.cat((label, prediction)))
        return {"frame, label, prediction": side_by_side(torch.cat((frame, colors)))}


def train_supervised(
    network: RAFT,
    batches: Callable[[int], Pairs],
    settings: TrainSettings,
    *,
    run: Run | None = None,
    title: str = "Training",
    watch: Callable[[int], Wish | None] | None = None,
) -> Result:
    """Train `network` on labelled batches; see `selfflow.runs.loop.fit` for the arguments."""
    network.train()
    return fit(
        Supervised(network, settings),
        batches,
        optimizer=adamw(network, settings.weight_decay),
        learning_rate=settings.rate,
        settings=settings.loop,
        run=run,
        title=title,
        watch=watch,
    )


def adamw(network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return RAFT's optimiser; the loop sets its learning rate."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, weight_decay=weight_decay)


def side_by_side(images: Tensor) -> Tensor:
    """Return images `(N, 3, H, W)` as one `(3, H, N W)`."""
    return torch.cat(tuple(images), 2).cpu()
