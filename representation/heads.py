"""Projector and predictor: BYOL's two-layer perceptron, as 1x1 convolutions."""

from torch import nn


def perceptron(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Return a head that maps `(B, channels, H, W)` to `(B, out, H, W)`, each position by itself.

    Linear with bias, batch normalisation, ReLU, linear without bias (BYOL, Grill et al. 2020,
    section 3.3), the linear layers as 1x1 convolutions (FlowE, section 3.3). Vectors are passed as
    `(B, channels, 1, 1)`. Batch normalisation with BYOL's decay of 0.9 and epsilon of 1e-5.
    """
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        nn.BatchNorm2d(hidden, eps=1e-5, momentum=0.1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, out, 1, bias=False),
    )
