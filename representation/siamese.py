"""An online network and its target, a slow average of it: what most of the methods are made of."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from representation.encoder import Encoder
from representation.momentum import follow, target_of
from selfflow.runs.schedule import cosine


class Siamese:
    """The online network, an encoder with heads, and the target network that follows it.

    The target starts as a copy, gets no gradient, and moves in its parameters alone: statistics of
    batch normalisation are its own, from its own passes in training mode (as in BYOL's code).

    It moves after the optimiser's step (BYOL). MoCo moves its key encoder before the keys' forward
    pass instead. From the same start that is the same sequence of targets: what MoCo does before
    step k is done here after step k - 1, and once a step, however many batches are accumulated.

    Args:
        encoder: what is kept in the end.
        heads: projectors by name, on the encoder's features. A predictor is no part of it.
        momentum: of the target at the start.
        steps: after so many the momentum has risen to 1 along half a cosine, as BYOL's; None
            leaves it fixed, as MoCo's.
        device: where the networks go.

    Attributes:
        online: the encoder under "encoder", and the heads.
        target: likewise.
        modules: both by name, for a checkpoint.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, nn.Module],
        *,
        momentum: float,
        steps: int | None,
        device: torch.device,
    ) -> None:
        self.online = nn.ModuleDict({"encoder": encoder, **heads}).to(device)
        self.target = target_of(self.online)
        self.modules = {"online": self.online, "target": self.target}
        self.start, self.steps = momentum, steps

    def project(self, images: Tensor, head: str = "projector", *, pooled: bool = False) -> Tensor:
        """Return the online network's projections of images, see `project`."""
        return project(self.online, images, head, pooled=pooled)

    @torch.no_grad()
    def project_target(
        self, images: Tensor, head: str = "projector", *, pooled: bool = False
    ) -> Tensor:
        """Return the target network's projections of images, without gradient."""
        return project(self.target, images, head, pooled=pooled)

    def momentum(self, step: int) -> float:
        """Return the target's momentum after a step."""
        return self.start if self.steps is None else cosine(step, self.steps, self.start, 1.0)

    def follow(self, step: int) -> None:
        """Let the target follow the online network; to be called after the optimiser's step."""
        follow(self.target, self.online, self.momentum(step))


def project(
    network: nn.ModuleDict, images: Tensor, head: str = "projector", *, pooled: bool = False
) -> Tensor:
    """Return what a head makes of an encoder's features of images `(B, 3, H, W)`.

    Shape `(B, C, h, w)`; `(B, C, 1, 1)` where the features are `pooled`, their mean over all
    positions taken.
    """
    features = network["encoder"](images)
    if pooled:
        features = features.mean((2, 3), keepdim=True)
    projected: Tensor = network[head](features)
    return projected


def distance(prediction: Tensor, projection: Tensor) -> Tensor:
    """Return BYOL's |p̃ - z̃|² = 2 - 2 cos of the normalised vectors, in at least float32.

    `(B, C, H, W)` twice to `(B, 1, H, W)`, from 0 to 4. Grill et al. 2020, equation 2.
    """
    wide = torch.promote_types(prediction.dtype, torch.float32)
    similarity = F.cosine_similarity(prediction.to(wide), projection.to(wide), dim=1)
    return (2 - 2 * similarity)[:, None]
