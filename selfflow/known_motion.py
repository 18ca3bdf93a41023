"""How well a network follows long motion, on frames whose own motion nobody knows.

A target may move little, and small frames move less: what a network knew of longer motion is then
forgotten in training, and none of the objective's terms shows it. So the network is also measured
on motion that is known because it is made: two windows of the same frame, one beside the other.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from selfflow.metrics import endpoint_error
from selfflow.objective import FlowNetwork

# Pixels, at most a quarter of the frame's width, by the name under which the error is reported.
# 100 steps on DAVIS at 160 px (learning rate 1e-4), after which Sintel's market_5 had 18.8 px of
# error in place of 11.9, took the large shift from 5.2 to 13.2 px on six frames, the small one from
# 0.36 to 0.34, and Ω from 2.30 to 2.26.
SHIFTS = {"epe, small shift": 20, "epe, large shift": 60}
WORSE_BY = (0.5, 1.5)  # pixels, and times as much: what is called forgetting


@torch.no_grad()
def shift_errors(network: FlowNetwork, image: Tensor, iterations: int) -> Tensor:
    """Return the mean end-point error, in pixels, of an image's windows that are `SHIFTS` apart.

    Args:
        network: in evaluation mode.
        image: one frame `(1, 3, H, W)`.
        iterations: of the network.

    Returns:
        `(len(SHIFTS),)`: means over both directions and the pixels that both windows have.
    """
    width = image.shape[-1]
    errors = []
    for shift in SHIFTS.values():
        shift = min(shift, width // 4)
        left, right = image[..., :-shift], image[..., shift:]
        flows = network.bidirectional(right, left, iterations)
        for flow, known, direction in zip(
            flows, (slice(None, width - 2 * shift), slice(shift, None)), (1, -1), strict=True
        ):
            true = torch.zeros_like(flow)
            true[:, 0] = direction * shift
            errors.append(endpoint_error(flow, true)[..., known].mean())
    return torch.stack(errors).view(-1, 2).mean(1)


def forgotten(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Return a warning if a training has made the errors of `SHIFTS` much worse, else nothing."""
    pixels, times = WORSE_BY
    worse = [
        f"{before[name]:.2f} to {after[name]:.2f} px ({name.removeprefix('epe, ')})"
        for name in SHIFTS
        if name in before and after[name] > max(before[name] + pixels, before[name] * times)
    ]
    if not worse:
        return []
    return [
        f"long motion is being forgotten: the error of frames beside themselves rose from "
        f"{', '.join(worse)}; larger frames and crops, or a smaller learning rate, keep it"
    ]
