"""Changes of appearance: colours, the grey curve, noise and erased rectangles.

The kinds and default strengths are RAFT's (Teed and Deng, ECCV 2020), gamma and noise AutoFlow's
(Sun et al., CVPR 2021). Every sample draws its own values from its key.
"""

import math

import torch
from torch import Tensor

from selfflow.census import LUMA
from selfflow.flow import pixel_grid
from selfflow.random import bits, chance, purpose, uniform
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter, parameter_range

# Luma and two axes of colour (NTSC), in which a turn of the hue is a rotation.
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class Colors(Config):
    """How far colours change, in both frames alike unless the change is asymmetric."""

    brightness: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="colours are multiplied by 1 ± this"
    )
    contrast: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="distance to the mean grey is multiplied by 1 ± this"
    )
    saturation: float = parameter(
        0.4, 0.0, 0.8, unit="share", meaning="distance to grey is multiplied by 1 ± this"
    )
    hue: float = parameter(
        0.16, 0.0, 0.5, unit="turns", meaning="hue is turned by up to this, either way"
    )
    gamma: float = parameter(
        0.1, 0.0, 0.5, unit="octaves", meaning="exponent of the grey curve, up to this either way"
    )
    asymmetric: float = parameter(
        0.2, 0.0, 1.0, unit="probability", meaning="each frame draws changes of its own"
    )
    noise: float = parameter(
        0.02, 0.0, 0.06, unit="intensity", meaning="largest standard deviation of added noise"
    )
    erase: float = parameter(
        0.5, 0.0, 1.0, unit="probability", meaning="rectangles of frame 2 are painted over"
    )
    erase_size: tuple[float, float] = parameter_range(
        (0.14, 0.27), 0.02, 0.5, unit="shorter sides", meaning="sides of an erased rectangle"
    )


def augment_colors(
    image1: Tensor, image2: Tensor, keys: Tensor, colors: Colors, strength: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return both frames `(B, 3, H, W)` with other colours and noise, and frame 2 with holes.

    Brightness, saturation, hue and contrast are one affine map of colours, clamped once at the
    end; hue is a rotation about the grey axis in YIQ, which keeps luma (torchvision's rotates in
    HSV). Contrast refers to the mean grey of both frames, so that a symmetric change is one.
    """
    asymmetric = chance(purpose(keys, "augment asymmetric"), colors.asymmetric)
    keys2 = torch.where(asymmetric, purpose(keys, "augment second"), keys)
    mean = (image1.mean((2, 3)) + image2.mean((2, 3))) / 2
    image1 = _change_colors(image1, mean, keys, colors, strength)
    image2 = _change_colors(image2, mean, keys2, colors, strength)
    # Noise is never shared: it is what differs between two photographs of the same thing.
    image1 = _add_noise(image1, purpose(keys, "augment noise", 1), keys, colors.noise * strength)
    image2 = _add_noise(image2, purpose(keys, "augment noise", 2), keys, colors.noise * strength)
    return image1, _erase(image2, keys, colors, strength)


def _change_colors(
    image: Tensor, mean: Tensor, keys: Tensor, colors: Colors, strength: float
) -> Tensor:
    """Apply the affine map of colours, then the grey curve; the result is clamped to [0, 1]."""

    def signed(name: str) -> Tensor:
        return uniform(purpose(keys, f"augment {name}"), low=-1.0, high=1.0) * strength

    matrix, offset = color_map(
        mean,
        brightness=1 + colors.brightness * signed("brightness"),
        contrast=1 + colors.contrast * signed("contrast"),
        saturation=1 + colors.saturation * signed("saturation"),
        turn=colors.hue * signed("hue"),
    )
    changed = torch.einsum("bij,bjhw->bihw", matrix, image) + offset[:, :, None, None]
    changed = changed.clamp(0, 1)
    if colors.gamma * strength == 0:
        return changed
    return changed.pow(torch.exp2(colors.gamma * signed("gamma"))[:, None, None, None])


def color_map(
    mean: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the matrix `(B, 3, 3)` and offset `(B, 3)` of a change of colours.

    Args:
        mean: mean colour of the images, `(B, 3)`; contrast keeps its luma.
        brightness: factor on colours, `(B,)`.
        contrast: factor on the distance to the mean luma, `(B,)`.
        saturation: factor on the distance to grey, `(B,)`.
        turn: rotation of the hue, `(B,)` turns.
    """
    to_yiq = mean.new_tensor(YIQ)
    cos, sin = (saturation * wave(2 * math.pi * turn) for wave in (torch.cos, torch.sin))
    rotation = torch.zeros(len(mean), 3, 3, device=mean.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2] = cos, -sin
    rotation[:, 2, 1], rotation[:, 2, 2] = sin, cos
    matrix = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    matrix = matrix * brightness[:, None, None]
    grey = (matrix @ mean[..., None])[..., 0] @ to_yiq[0]
    offset = ((1 - contrast) * grey)[:, None].expand(-1, 3)
    return matrix * contrast[:, None, None], offset


def _add_noise(image: Tensor, noise_keys: Tensor, keys: Tensor, largest: float) -> Tensor:
    """Add noise of a standard deviation drawn from [0, largest), the same one in both frames."""
    if largest == 0:
        return image
    deviation = uniform(purpose(keys, "augment noise level"), high=largest)
    # The sum of four random bytes is close to normal and takes one hash a value.
    word = bits(noise_keys, *image.shape[1:])
    total = (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255) + (word >> 24)
    noise = (total - 510).to(image.dtype) * (1 / math.sqrt(4 * (256**2 - 1) / 12))
    return (image + noise * deviation[:, None, None, None]).clamp(0, 1)


def _erase(image: Tensor, keys: Tensor, colors: Colors, strength: float) -> Tensor:
    """Paint up to three rectangles in the image's mean colour (SMURF: one, two more at 1/2 each).

    Labels stay as they are: the network is asked to guess the motion of what it cannot see.
    """
    if colors.erase * strength == 0:
        return image
    height, width = image.shape[-2:]
    grid = pixel_grid(height, width, device=image.device)
    size = image.new_tensor((width, height))
    mean = image.mean((2, 3), keepdim=True)
    painted = chance(purpose(keys, "augment erase"), colors.erase * min(strength, 1.0))
    for number in range(3):
        if number:
            painted = painted & chance(purpose(keys, "augment erase more", number), 0.5)
        draw = uniform(purpose(keys, "augment erased", number), 4)
        low, high = colors.erase_size
        sides = (low + (high - low) * draw[:, :2]) * min(height, width)
        centre = draw[:, 2:] * size
        off = (grid - centre[:, :, None, None]).abs() - sides[:, :, None, None] / 2
        within = (off <= 0).all(1, keepdim=True) & painted[:, None, None, None]
        image = torch.where(within, mean, image)
    return image
