"""Contact sheets: pictures in rows, with headings, as one image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from selfflow.colors import flow_to_color

Picture = npt.NDArray[np.uint8]

_GAP = 6
_INK, _PAPER = (28, 39, 51), (255, 255, 255)
_HIDDEN = torch.tensor((0.85, 0.1, 0.1)).view(3, 1, 1)


def picture(image: Tensor) -> Picture:
    """Return an image `(3, H, W)` in [0, 1] as `(H, W, 3)` uint8."""
    scaled = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().numpy()


def flow_picture(flow: Tensor, largest: float | None = None) -> Picture:
    """Return flow `(2, H, W)` in colour; `largest` pixels are fully saturated."""
    return picture(flow_to_color(flow[None], largest)[0])


def visibility_picture(image: Tensor, visible: Tensor) -> Picture:
    """Return `image` `(3, H, W)` in grey, red where `visible` `(1, H, W)` is false."""
    grey = image.mean(0, keepdim=True).expand_as(image)
    return picture(torch.where(visible, grey, 0.35 * grey + 0.65 * _HIDDEN.to(image.device)))


def sheet(
    rows: Sequence[Sequence[Picture]],
    *,
    headings: Sequence[str] = (),
    labels: Sequence[str] = (),
    least_width: int = 0,
) -> Picture:
    """Return rows of pictures of one size as one image.

    Args:
        rows: pictures `(H, W, 3)`; rows may differ in length.
        headings: above the columns.
        labels: above each row.
        least_width: pictures narrower than this are enlarged to it, so that headings fit.
    """
    height, width = rows[0][0].shape[:2]
    if width < least_width:
        height, width = round(height * least_width / width), least_width
    # On a phone a page shows a sheet at half its size or less; letters are to stay legible.
    letters = min(max(width // 13, 14), 22)
    line = letters + 8
    columns = max(len(row) for row in rows)
    top = _GAP + (line if headings else 0)
    step = height + _GAP + (line if labels else 0)
    canvas = Image.new("RGB", (_GAP + columns * (width + _GAP), top + len(rows) * step), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(letters)
    lefts = [_GAP + column * (width + _GAP) for column in range(columns)]
    for left, heading in zip(lefts, headings, strict=False):
        draw.text((left, _GAP), heading, fill=_INK, font=font)
    for number, row in enumerate(rows):
        y = top + number * step
        if labels:
            draw.text((_GAP, y), labels[number], fill=_INK, font=font)
            y += line
        for left, each in zip(lefts, row, strict=False):
            canvas.paste(Image.fromarray(each).resize((width, height)), (left, y))
    return np.asarray(canvas)
