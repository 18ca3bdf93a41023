"""Label maps in files: class numbers, in grey or palette images."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from representation.readout.dense.layouts import Segmented
from representation.readout.dense.sources import Source
from selfflow.runs.errors import UserError

IGNORE = 255  # in memory, whatever the files have


def read_numbers(source: Source) -> npt.NDArray[np.int64]:
    """Return the numbers `(H, W)` in a grey or palette image of 8 or 16 bits.

    Raises:
        UserError: it is none; a picture in colours is one of classes only to people.
    """
    if not isinstance(source, Path):
        raise UserError(f"{source}: label maps are image files")
    path = source
    try:
        with Image.open(BytesIO(path.read_bytes())) as image:
            values = np.array(image)
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if values.ndim != 2:
        raise UserError(f"{path} holds colours, not numbers of classes")
    return values.astype(np.int64)


class LabelReader:
    """Reads label maps as classes.

    Args:
        data: says which number stands for which class.
    """

    def __init__(self, data: Segmented) -> None:
        self.classes = len(data.classes)
        self.known = data.ids is None
        self.table = np.full(1 << 16, -1, np.int64)  # -1: stands for nothing
        if data.ids is None:
            self.table[: self.classes] = range(self.classes)
        else:
            self.table[:] = IGNORE
            self.table[list(data.ids)] = list(data.ids.values())
        self.table[list(data.ignored)] = IGNORE

    def __call__(self, path: Source) -> Tensor:
        """Return the classes `(H, W)` uint8 of a label map, `IGNORE` where there is none.

        Raises:
            UserError: a number stands for no class.
        """
        numbers = read_numbers(path)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self.table):
            raise UserError(f"{path} holds numbers from {numbers.min()} to {numbers.max()}")
        classes = self.table[numbers]
        if (classes < 0).any():
            raise UserError(
                f"{path} holds {numbers[classes < 0][0]}, but there are {self.classes} classes, 0 "
                f"to {self.classes - 1}"
            )
        return torch.from_numpy(classes.astype(np.uint8))
