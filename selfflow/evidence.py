"""What unlabelled windows say about a flow: the terms of self-supervision that need no teacher."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from selfflow.census import Census, grey
from selfflow.flow import grid_like, sample, stays_inside
from selfflow.losses import edge_weights, inner, masked_mean, smoothness_within
from selfflow.objective import CENSUS_BORDER, swap, unoccluded
from selfflow.windows import Windows


@dataclass(frozen=True)
class Evidence:
    """What a batch of windows says about flow between its crops, in both directions at once.

    All that does not depend on the flow is computed once, for all iterations of a network.

    Attributes:
        census: transform of both frames' crops, the first frames' before the second's.
        edges: how little these crops' edges let flow bend along y and x.
        other: grey values of the other frame's window, and which of its pixels are known,
            `(2B, 2, H, W)`.
        margin: rows and columns by which the window is larger than the crop, on each side.
    """

    census: Census
    edges: tuple[Tensor, Tensor]
    other: Tensor
    margin: tuple[int, int]

    @classmethod
    def of(cls, windows: Windows, smoothness_order: int) -> "Evidence":
        """Prepare a batch of windows."""
        crops = torch.cat((windows.plain1, windows.plain2))
        around = grey(torch.cat((windows.around2, windows.around1)))
        known = torch.cat((windows.known2, windows.known1)).to(around.dtype)
        return cls(
            census=Census.of(grey(crops)),
            edges=edge_weights(crops, smoothness_order),
            other=torch.cat((around, known), 1),
            margin=windows.margin,
        )

    def terms(self, flow: Tensor, occlusion: str) -> dict[str, Tensor]:
        """Return how well a flow explains the frames, each term a scalar.

        Args:
            flow: `(2B, 2, h, w)`, forward flow before backward flow.
            occlusion: what tells occluded pixels, see `selfflow.objective.unoccluded`.

        Returns:
            `photometric`: census penalty of visible pixels; `smoothness`; `covered`: the share of
            pixels that count as visible.
        """
        warped, visible = self.warped(flow, occlusion)
        covered = inner(visible, CENSUS_BORDER)
        everywhere = inner(torch.ones_like(covered), CENSUS_BORDER)
        return {
            "photometric": masked_mean(self.census.penalty(warped), covered),
            "smoothness": smoothness_within(self.edges, flow).mean(),
            "covered": masked_mean(covered, everywhere),
        }

    def warped(self, flow: Tensor, occlusion: str) -> tuple[Tensor, Tensor]:
        """Return what flow makes of the other frames, in grey, and where that is to be compared.

        Both `(2B, 1, h, w)`; the second in [0, 1], without gradient.
        """
        rows, columns = self.margin
        target = grid_like(flow) + flow + flow.new_tensor((columns, rows)).view(1, 2, 1, 1)
        warped, known = sample(self.other, target).split(1, 1)
        with torch.no_grad():
            # Where flow leaves the crop nobody can check it, but the window may still explain it.
            visible = torch.where(stays_inside(flow), unoccluded(flow, swap(flow), occlusion), 1)
            return warped, visible * (known > 0.999)


Loss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def settled(loss: Loss, flow: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what `loss` returns, a scalar and terms, with its gradient by `flow` computed now.

    Nothing but that gradient is kept for the backward pass. Otherwise the losses of all iterations
    together take more memory than the network. The terms come back without gradients.
    """
    if not flow.requires_grad:
        return loss(flow)
    leaf = flow.detach().requires_grad_()
    value, terms = loss(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    value = value.detach() + ((flow - leaf.detach()) * gradient).sum()
    return value, {name: term.detach() for name, term in terms.items()}
