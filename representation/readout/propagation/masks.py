"""Masks of objects in PNG files, as DAVIS distributes them and its official evaluation reads them.

DAVIS-2017's files are indexed: a pixel's value is the number of its object, 0 is background and 255
is void, which the official evaluation takes for background. DAVIS-2016's have two values, 0 and
255, and there 255 is the object.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from selfflow.io import Bytes
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

VOID = 255


def read_indices(path: Path) -> Bytes:
    """Return the values `(H, W)` of a mask's file: an indexed or grey PNG.

    Colours are fine if they are greys, as in some files of DAVIS-2016; UserError for others, which
    say of no object which one it is.
    """
    try:
        with Image.open(path) as image:
            grey = image if image.mode in ("P", "L", "1") else image.convert("RGB")
            values = np.array(grey).astype(np.uint8)
            if grey.mode == "1":
                values *= VOID
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such mask") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: a broken image ({error})") from None
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise UserError(f"{path}: a mask is an indexed or a grey image, this one has colours")
        values = values[..., 0]
    return values


def two_valued(values: Bytes) -> bool:
    """Return whether a mask `(H, W)` is one of DAVIS-2016, with no values but 0 and 255."""
    return bool(np.isin(values, (0, VOID)).all() and (values == VOID).any())


def object_numbers(path: Path, *, binary: bool, merged: bool) -> Bytes:
    """Return which object each pixel of a mask's file shows, `(H, W)`; 0 is background.

    Args:
        path: of the file.
        binary: the sequence's masks have two values, 0 and 255; 255 becomes object 1.
        merged: all objects become object 1.
    """
    values = read_indices(path)
    if binary:
        strange = values[(values != 0) & (values != VOID)]
        if len(strange):
            raise UserError(
                f"{path}: has the value {strange[0]}, but the sequence began with a mask of 0 and "
                f"{VOID} alone"
            )
        return np.asarray(values == VOID, np.uint8)
    numbers = np.where(values == VOID, 0, values)
    return np.asarray(numbers > 0 if merged else numbers, np.uint8)


def write_indices(path: Path, numbers: Bytes) -> None:
    """Write object numbers `(H, W)` as an indexed PNG with DAVIS's colours, whole or not at all."""
    image = Image.fromarray(numbers)
    image.putpalette(palette().flatten().tolist())
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")


def palette() -> npt.NDArray[np.uint8]:
    """Return the colours of the numbers, `(256, 3)`: PASCAL VOC's, which DAVIS's files carry.

    Bits 0, 3 and 6 of a number are the highest bits of red, bits 1, 4 and 7 of green, bits 2 and 5
    of blue.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1]
    bits = np.pad(bits, ((0, 0), (0, 1)))  # (256, 9), from bit 0 on
    weights = 2 ** np.arange(7, 4, -1)
    return (bits.reshape(256, 3, 3) * weights[None, :, None]).sum(1).astype(np.uint8)
