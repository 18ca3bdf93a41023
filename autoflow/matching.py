"""A head start for an untrained network: its features learn to find where a point has gone.

From nothing, RAFT's features and the recurrent unit that reads their correlation have to learn
together, and thousands of steps pass before either knows what the other does. Here the features
alone are trained to classify, for each cell of frame 1, the cell of frame 2 that it moves to. A
step costs a fraction of a step of the whole network. It is ours, not AutoFlow's, and made for short
trainings.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.stream import Stream, stream
from selfflow.flow import inside, pixel_grid
from selfflow.losses import masked_mean
from selfflow.pairs import Pairs
from selfflow.raft import RAFT, STRIDE
from selfflow.runs.config import replace_values
from selfflow.runs.loop import LoopSettings, Result, Task, fit
from selfflow.runs.parameter import parameters
from selfflow.runs.schedule import one_cycle
from selfflow.supervised import adamw

LEARNING_RATE = 1e-3


class Matching(Task[Pairs]):
    """A step that trains the feature encoder to match."""

    def __init__(self, network: RAFT) -> None:
        self.network = network
        self.modules = {"network": network}

    def step(self, batch: Pairs, step: int) -> dict[str, Tensor]:
        """Return the mean cross entropy of the cells that are seen in both frames."""
        if batch.flow is None or batch.visible is None:
            raise ValueError("matching needs pairs with flow and visibility")
        images = torch.cat((batch.image1, batch.image2))
        features1, features2 = self.network.feature_encoder(2 * images - 1).float().chunk(2)
        target = pixel_grid(*features1.shape[-2:], device=images.device)
        target = target + F.avg_pool2d(batch.flow, STRIDE) / STRIDE
        seen = F.avg_pool2d(batch.visible.float(), STRIDE) > 0.9
        loss, known = matching_loss(features1, features2, target)
        return {"loss": masked_mean(loss, known & seen)}


def matching_loss(features1: Tensor, features2: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of where cells of frame 1 are in frame 2, and where it is known.

    Args:
        features1: of frame 1, `(B, C, h, w)`.
        features2: of frame 2, likewise.
        target: positions in frame 2, `(B, 2, h, w)` cells; between cells the four neighbours share
            the probability as in bilinear interpolation.

    Returns:
        Loss `(B, 1, h, w)`, and which targets lie inside frame 2, `(B, 1, h, w)` bool.
    """
    batch, channels, height, width = features1.shape
    correlation = torch.einsum("bci,bcj->bij", features1.flatten(2), features2.flatten(2))
    likely = (correlation / channels**0.5).log_softmax(-1)
    known = inside(target, height, width)
    largest = target.new_tensor((width - 1, height - 1)).view(1, 2, 1, 1)
    corner = torch.minimum(target.clamp(min=0).floor(), (largest - 1).clamp(min=0))
    loss = target.new_zeros(batch, height * width)
    for offset in ((0, 0), (1, 0), (0, 1), (1, 1)):
        cell = corner + corner.new_tensor(offset).view(1, 2, 1, 1)
        weight = (1 - (target - cell).abs()).clamp(min=0).prod(1).flatten(1)
        cell = torch.minimum(cell, largest)
        number = (cell[:, 1] * width + cell[:, 0]).long().flatten(1)
        loss = loss - weight * likely.gather(2, number[..., None])[..., 0]
    return loss.view(batch, 1, height, width), known


def easy_set(hyperparameters: Hyperparameters) -> Hyperparameters:
    """Return a set of scenes in which points are easily told: one layer at most, no effects.

    The whole frame moves, far enough to show in a network's coarse features.
    """
    effects = {
        name: 0.0
        for name, each in parameters(hyperparameters).items()
        if name.startswith("effects.") and each.unit == "probability"
    }
    return replace_values(
        hyperparameters,
        {**effects, "layers.count": (0, 1), "background.translation": 0.05, "background.tail": 0.5},
    )


def easy_scenes(
    sets: Sequence[Hyperparameters],
    *,
    seed: int,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device | str,
) -> Stream:
    """Return the stream of the sets' easy scenes, without augmentation."""
    return stream(
        [easy_set(each) for each in sets],
        seed=seed,
        size=size,
        batch_size=batch_size,
        device=device,
        augment=False,
    )


def learn_to_match(network: RAFT, scenes: Stream, steps: int) -> Result:
    """Train the features of `network` on scenes with flow and visibility."""
    return fit(
        Matching(network),
        scenes.batch_at,
        optimizer=adamw(network.feature_encoder, 1e-4),
        learning_rate=lambda step: one_cycle(step, steps, LEARNING_RATE, warmup=0.1),
        settings=LoopSettings(steps=steps),
        title="Learning to match",
    )
