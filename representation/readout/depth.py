"""Depth for each pixel of a single image, read out of features.

One 1x1 convolution to one value, in metres, trained by its mean absolute error (VADeR, section
4.1); pixels whose depth is not known count nowhere. Protocols, and what the paper does not say:

- `default`, our own: as segmentation's `linear`: normalisation without weights, loss at random
  pixels of whole images, the learning rate the best of five on a fifth of the training images.
- `vader`: encoders without a decoder are dilated to stride 4; the mean of five trials (seeds). How
  it is trained is in a supplement that is not at hand: as `default`. Which average its RMSE is, and
  whether images are cropped, is not said: both averages are measured, `crop="eigen"` crops.

RMSE is averaged in two ways in the literature: `rmse_image` is the mean of each image's, and
`rmse_pixel` is over all pixels of the set. Whatever is read out is clamped to 0.001 to 10 m.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib import colormaps
from PIL import Image
from pydantic import Field
from torch import Tensor

from representation.readout.dense.depth_layouts import LAYOUTS
from representation.readout.dense.depths import Depths
from representation.readout.dense.examples import Example
from representation.readout.dense.folders import folder_parts, usual_parts
from representation.readout.dense.pictures import sheet
from representation.readout.dense.readout import DenseReadout
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.sources import read_picture
from representation.readout.places import find_place


class DepthSettings(DenseSettings):
    """How depth is read out of features."""

    protocol: str = Field("default", description="whose numbers are taken")
    unit: float = Field(0.001, gt=0, description="m, what 1 stands for in an image of depth")
    highest: float = Field(10.0, gt=0, description="m, beyond which no depth is known or read out")
    crop: Literal["none", "eigen"] = Field("none", description="what of an image is tested on")


class Depth(DenseReadout):
    """Tell the depth: NYU-Depth v2, or a folder of images/ and depth/ (16-bit PNG, mm)."""

    Settings = DepthSettings
    default_protocol = "default"
    protocols: ClassVar = {"default": {}, "vader": {"output_stride": 4}}
    quick: ClassVar = {
        "parts.most": 32,
        "parts.short_side": 160,
        "training.batch_size": 4,
        "loop.steps": 100,
    }

    def open_data(self, data_root: Path | None) -> None:
        """Find the data set and read its lists."""
        settings: DepthSettings = self.settings
        layout, self.folder = find_place(settings.data, LAYOUTS, data_root)
        if layout is None:
            parts = folder_parts(self.folder, "depth")
            train, test = usual_parts(parts)
        else:
            parts, train, test = layout.read(self.folder), "train", "test"
        self.target: Depths = Depths(
            settings.unit, settings.highest, eigen=settings.crop == "eigen"
        )
        self.choose(parts, train, test)

    def picture(self, example: Example, outputs: Tensor) -> Image.Image:
        """Return the image, its depth and what was read out; blue is near, red far."""
        truth, found = self.target.read(example.label).numpy(), self.target.depth(outputs).numpy()
        largest = float(truth.max()) or 1.0
        pictures = [
            ("image", read_picture(example.image)),
            (f"depth, to {largest:.1f} m; black: not known", _colored(truth / largest, truth > 0)),
            ("read out", _colored(found / largest, np.ones_like(truth, bool))),
        ]
        return sheet(pictures, [])

    def write_prediction(self, path: Path, outputs: Tensor) -> None:
        """Write the depth in units of the setting, as a 16-bit PNG."""
        units = (self.target.depth(outputs).numpy() / self.settings.unit).round()
        Image.fromarray(units.clip(0, 65535).astype(np.uint16)).save(path)


def _colored(values: Any, known: Any) -> Any:
    shown = (colormaps["turbo"](values.clip(0, 1))[..., :3] * 255).astype(np.uint8)
    return np.where(known[..., None], shown, 0).astype(np.uint8)
