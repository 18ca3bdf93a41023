"""Pictures of what was read out beside image and label map."""

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from selfflow.io import Bytes

Color = tuple[int, int, int]
UNKNOWN: Color = (0, 0, 0)
_LINE = 16  # px, of the legend and the titles


def palette(count: int) -> list[Color]:
    """Return colours that are told apart: hues by the golden ratio, three lightnesses in turn."""
    colors = []
    for number in range(count):
        hue, light = (number * 0.618034) % 1, (0.5, 0.35, 0.7)[number % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.8)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def painted(classes: npt.NDArray[np.uint8], colors: Sequence[Color]) -> Bytes:
    """Return classes `(H, W)` in their colours `(H, W, 3)`; black where there is none."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[classes]


def sheet(
    pictures: Sequence[tuple[str, Bytes]], legend: Sequence[tuple[str, Color]]
) -> Image.Image:
    """Return pictures of one size side by side under their titles, with a legend below."""
    height, width = pictures[0][1].shape[:2]
    font = ImageFont.load_default(12)
    columns = max(1, len(pictures) * width // 110)
    lines = -(-len(legend) // columns)
    canvas = Image.new(
        "RGB", (len(pictures) * width, _LINE + height + lines * _LINE), (255, 255, 255)
    )
    draw = ImageDraw.Draw(canvas)
    for place, (title, picture) in enumerate(pictures):
        draw.text((place * width + 4, 1), title, (0, 0, 0), font)
        canvas.paste(Image.fromarray(picture), (place * width, _LINE))
    for number, (name, color) in enumerate(legend):
        line, column = divmod(number, columns)
        left, top = 110 * column + 2, _LINE + height + _LINE * line + 2
        draw.rectangle((left, top, left + 11, top + 11), color)
        draw.text((left + 15, top - 1), name[:16], (0, 0, 0), font)
    return canvas
