"""Colour distortion, blur and solarisation, for batches on any device, each sample by its own key.

SimCLR's colours and blur (Chen et al., "A Simple Framework for Contrastive Learning of Visual
Representations", 2020, appendix A), BYOL's solarisation (Grill et al., "Bootstrap Your Own Latent",
2020, appendix B), MoCo v2's parameters (Chen et al., "Improved Baselines with Momentum Contrastive
Learning", 2020). Brightness is multiplicative for all of them, as in the second version of SimCLR's
code and in torchvision.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.census import grey
from selfflow.flow import check_images
from selfflow.random import chance, integers, purpose, uniform
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter, parameter_range

ORDERS = torch.tensor(list(itertools.permutations(range(4))))


class Distortion(Config):
    """How colours and sharpness are changed."""

    strength: float = parameter(
        1.0, 0.0, 1.0, unit="share", meaning="scales the ranges of the four colour changes"
    )
    jitter: float = parameter(
        0.8, 0.0, 1.0, unit="probability", meaning="colours are changed at all"
    )
    brightness: float = parameter(0.8, 0.0, 1.0, unit="share", meaning="factor 1 ± this")
    contrast: float = parameter(0.8, 0.0, 1.0, unit="share", meaning="factor 1 ± this")
    saturation: float = parameter(0.8, 0.0, 1.0, unit="share", meaning="factor 1 ± this")
    hue: float = parameter(0.2, 0.0, 0.5, unit="turns", meaning="turned by up to this, either way")
    grey: float = parameter(0.2, 0.0, 1.0, unit="probability", meaning="colour is taken away")
    blur: float = parameter(0.5, 0.0, 1.0, unit="probability", meaning="the view is blurred")
    sigma: tuple[float, float] = parameter_range(
        (0.1, 2.0), 0.01, 10.0, unit="px", meaning="standard deviation of the blur"
    )
    solarise: float = parameter(
        0.0, 0.0, 1.0, unit="probability", meaning="bright values are inverted"
    )
    threshold: float = parameter(0.5, 0.0, 1.0, unit="share", meaning="what is bright")


# As published. SimCLR's are the defaults; BYOL's two views differ.
SIMCLR = Distortion()
BYOL_1 = Distortion(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=1.0)
BYOL_2 = BYOL_1.model_copy(update={"blur": 0.1, "solarise": 0.2})
MOCO_V2 = Distortion(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def distort(images: Tensor, keys: Tensor, distortion: Distortion) -> Tensor:
    """Return `images` `(B, 3, H, W)` with changed colours and sharpness, clamped to [0, 1].

    `keys` `(B,)` decide about everything, so that a sample does not depend on its batch.
    """
    check_images(images)
    images = jitter(images, keys, distortion)
    colorless = chance(purpose(keys, "distort grey"), distortion.grey)
    images = torch.where(_per_image(colorless, images), grey(images), images)
    low, high = distortion.sigma
    sigma = uniform(purpose(keys, "distort sigma"), low=low, high=high)
    blurred = chance(purpose(keys, "distort blur"), distortion.blur)
    images = blur(images, torch.where(blurred, sigma, 0.0), largest=high)
    inverted = chance(purpose(keys, "distort solarise"), distortion.solarise)
    inverted = _per_image(inverted, images) & (images >= distortion.threshold)
    return torch.where(inverted, 1 - images, images)


def jitter(images: Tensor, keys: Tensor, distortion: Distortion) -> Tensor:
    """Change brightness, contrast, saturation and hue, each image in an order of its own."""
    changes = (brightness, contrast, saturation, hue)
    draws = uniform(purpose(keys, "distort amounts"), 4, low=-1.0, high=1.0) * distortion.strength
    ranges = draws.new_tensor([getattr(distortion, change.__name__) for change in changes])
    amounts = draws * ranges
    amounts[:, :3] = (1 + amounts[:, :3]).clamp_min(0)
    drawn = integers(purpose(keys, "distort order"), 0, len(ORDERS))
    order = ORDERS.to(keys.device)[drawn]
    happens = chance(purpose(keys, "distort jitter"), distortion.jitter)
    images = images.clone()
    for turn in range(4):
        for number, change in enumerate(changes):
            chosen = ((order[:, turn] == number) & happens).nonzero()[:, 0]
            if len(chosen):
                amount = amounts[chosen, number].to(images.device)
                index = chosen.to(images.device)
                images[index] = change(images[index], amount).clamp(0, 1)
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply colours by `factor` `(B,)`."""
    return images * _per_image(factor, images)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance to the image's mean grey by `factor` `(B,)`."""
    mean = grey(images).mean((2, 3), keepdim=True)
    return mean + (images - mean) * _per_image(factor, images)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance to grey by `factor` `(B,)`."""
    without = grey(images)
    return without + (images - without) * _per_image(factor, images)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by `turn` `(B,)` turns, at constant saturation and value (HSV)."""
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    safe = torch.where(chroma > 0, chroma, 1)
    sector = torch.cat(
        ((green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4), 1
    )
    sector = sector.gather(1, brightest) + 6 * _per_image(turn, images)
    # Each colour is the value, less the chroma where the hue is far from that colour.
    phase = (sector + sector.new_tensor((5, 3, 1)).view(1, 3, 1, 1)) % 6
    return value - chroma * torch.minimum(phase, 4 - phase).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor, *, largest: float = 2.0) -> Tensor:
    """Convolve each image with a Gaussian of its own `sigma` `(B,)` px; 0 leaves it sharp.

    As in SimCLR, the kernel's side is a tenth of the image's height; it ends at 4 · `largest`
    if that is less. The border is mirrored.
    """
    batch, channels, height, width = images.shape
    radius = min(height // 20, math.ceil(4 * largest), height - 1, width - 1)
    if radius == 0:
        return images
    sigma = sigma.to(images.device)
    taps = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (taps / sigma.clamp_min(1e-3)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.dtype)
    # One group a channel of each sample, so that every sample has its own kernel.
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    x = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    x = x.view(1, batch * channels, *x.shape[-2:])
    x = F.conv2d(x, kernel[:, :, None], groups=batch * channels)
    x = F.conv2d(x, kernel[..., None], groups=batch * channels)
    return x.view(batch, channels, height, width)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """Return values `(B,)` so that they broadcast against images."""
    return values.to(images.device).view(-1, 1, 1, 1)
