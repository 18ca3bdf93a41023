"""Projectors and predictors: two layers, as 1x1 convolutions.

They map `(B, channels, H, W)` to `(B, out, H, W)`, each position by itself; vectors are passed as
`(B, channels, 1, 1)`. Batch normalisation is torch's, with BYOL's decay of 0.9 and epsilon of 1e-5.
"""

from torch import nn


def perceptron(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Return BYOL's head: linear with bias, normalisation, ReLU, linear without bias.

    Grill et al. 2020, section 3.3; as 1x1 convolutions in FlowE, section 3.3.
    """
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        nn.BatchNorm2d(hidden, eps=1e-5, momentum=0.1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, out, 1, bias=False),
    )


def contrastive_head(
    channels: int, hidden: int, out: int, *, normalised: bool = False
) -> nn.Sequential:
    """Return the head of MoCo v2 and CACL, or, `normalised`, SimCLR's.

    MoCo v2's (Chen et al. 2020) is linear, ReLU, linear, both with bias. SimCLR's, as in its code,
    has batch normalisation after both and no other biases, after the second none at all.
    """
    if not normalised:
        return nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, out, 1)
        )
    last = nn.BatchNorm2d(out)
    last.bias.requires_grad_(False)  # it stays zero
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, out, 1, bias=False),
        last,
    )
