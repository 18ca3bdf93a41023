"""Semantic segmentation: a class for each pixel, read out of features.

Protocols, and what their papers do not say:

- `linear`, our own: frozen encoder, normalisation without weights, one 1x1 convolution; loss at
  random pixels of whole images, which lets features be computed once; the learning rate is the best
  of five on a fifth of the training images, and all of them are trained on then.
- `flowe` (Xiong et al. 2021, section 4.3): frozen, stride 8, one convolution ("DeepLab v1"); SGD of
  60,000 steps, batch 16, learning rate 0.02, poly; crops of 512x1024 of images with a short side of
  512 to 2048. Not said: momentum (0.9), weight decay (1e-4), flips (none), the convolution's size
  (1x1, as the supplement has it), normalisation (none), test size (as they are, whole).
  `flowe-cityscapes`: 40,000 steps, batch 8, learning rate 0.01, which the text at hand does not
  give; these come from notes about the paper. `flowe-heavy`, `flowe-heavy-cityscapes`: the
  DeepLabV3 head.
- `cacl` (section "Evaluation Setup"): frozen, stride 8, one 1x1 convolution, 300 epochs at 0.6,
  weight decay 0. Not said: batch (16), schedule (poly), momentum (0.9), augmentation (none), so
  that features are computed once. `cacl-finetune`: the whole network, 1,000 epochs at 0.3, meant
  for label shares of 1, 5 and 10 %; the rest as there, and crops of 512x1024 with flips.
- `vader` (section 4.1): frozen, one 1x1 convolution, cross-entropy; encoders without a decoder are
  dilated to stride 4; the mean of five trials. How it is trained is in a supplement that is not at
  hand: as `linear`. PASCAL VOC's train_aug is what we learn from there anyway.
- `multisiam` ("Transfer settings"): fine-tuned, FCN-16s, 90,000 steps, MoCo's settings for
  Cityscapes, recalled from its appendix: batch 16, learning rate 0.01, a tenth at 70 and at 90 %,
  weight decay 1e-4, crops of 769x769, zoom 0.5 to 2, flips. Encoders are at stride 16.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field
from torch import Tensor

from representation.readout.dense.classes import Classes
from representation.readout.dense.examples import Example
from representation.readout.dense.folders import read_folder
from representation.readout.dense.layouts import LAYOUTS
from representation.readout.dense.pictures import painted, palette, sheet
from representation.readout.dense.readout import DenseReadout
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.sources import read_picture
from representation.readout.places import find_place

_FLOWE: dict[str, Any] = {
    "output_stride": 8,
    "head.normalise": False,
    "training.learning_rates": (0.02,),
    "training.weight_decay": 1e-4,
    "training.batch_size": 16,
    "training.pixels": None,
    "augmentation.height": 512,
    "augmentation.width": 1024,
    "augmentation.short_side": (512, 2048),
    "loop.steps": 60_000,
}
_CITYSCAPES: dict[str, Any] = {
    "training.learning_rates": (0.01,),
    "training.batch_size": 8,
    "loop.steps": 40_000,
}
_CACL: dict[str, Any] = {
    "output_stride": 8,
    "head.normalise": False,
    "training.learning_rates": (0.6,),
    "training.batch_size": 16,
    "training.pixels": None,
    "training.epochs": 300,
}


class SegmentationSettings(DenseSettings):
    """How classes are read out of features."""

    protocol: str = Field("linear", description="whose numbers are taken")
    classes: int | None = Field(
        None, ge=2, le=254, description="of a folder without classes.txt; not set: as in its labels"
    )
    ignore: int = Field(255, ge=0, le=65535, description="number of no class, in a folder")


class Segmentation(DenseReadout):
    """Segment images: Cityscapes, BDD100K, PASCAL VOC, CamVid, a folder of images and labels."""

    Settings = SegmentationSettings
    default_protocol = "linear"
    protocols: ClassVar = {
        "linear": {},
        "flowe": _FLOWE,
        "flowe-cityscapes": {**_FLOWE, **_CITYSCAPES},
        "flowe-heavy": {**_FLOWE, "head.kind": "deeplabv3"},
        "flowe-heavy-cityscapes": {**_FLOWE, **_CITYSCAPES, "head.kind": "deeplabv3"},
        "cacl": _CACL,
        "cacl-finetune": {
            **_CACL,
            "training.finetune": True,
            "training.learning_rates": (0.3,),
            "training.epochs": 1000,
            "augmentation.height": 512,
            "augmentation.width": 1024,
            "augmentation.flip": 0.5,
        },
        "vader": {"output_stride": 4},
        "multisiam": {
            "output_stride": 16,
            "head.kind": "fcn16s",
            "head.normalise": False,
            "training.finetune": True,
            "training.learning_rates": (0.01,),
            "training.schedule": "steps",
            "training.weight_decay": 1e-4,
            "training.batch_size": 16,
            "training.pixels": None,
            "augmentation.height": 769,
            "augmentation.width": 769,
            "augmentation.zoom": (0.5, 2.0),
            "augmentation.flip": 0.5,
            "loop.steps": 90_000,
        },
    }
    quick: ClassVar = {
        "parts.most": 32,
        "parts.short_side": 160,
        "training.batch_size": 4,
        "training.epochs": None,
        "augmentation.height": None,
        "augmentation.width": None,
        "augmentation.short_side": None,
        "loop.steps": 100,
    }

    def open_data(self, data_root: Path | None) -> None:
        """Find the data set and read its lists."""
        settings: SegmentationSettings = self.settings
        layout, self.folder = find_place(settings.data, LAYOUTS, data_root)
        if layout is None:
            data = read_folder(self.folder, settings.classes, settings.ignore)
        else:
            data = layout.read(self.folder)
        self.colors = list(data.colors or palette(len(data.classes)))
        self.target: Classes = Classes(data)
        self.choose(data.parts, data.train, data.test)

    def data(self) -> dict[str, Any]:
        """Return what a result says of the data."""
        return {**super().data(), "classes": list(self.target.names)}

    def picture(self, example: Example, outputs: Tensor) -> Image.Image:
        """Return the image, the label map and the prediction, with a legend."""
        found, truth = _numbers(outputs), self.target.read(example.label).numpy()
        pictures = {
            "image": read_picture(example.image),
            "label map": painted(truth, self.colors),
            "prediction": painted(found, self.colors),
        }
        legend = zip(self.target.names, self.colors, strict=True)
        return sheet(list(pictures.items()), list(legend))

    def write_prediction(self, path: Path, outputs: Tensor) -> None:
        """Write the classes found, as numbers."""
        Image.fromarray(_numbers(outputs)).save(path)


def _numbers(outputs: Tensor) -> Any:
    return outputs.argmax(0).numpy().astype(np.uint8)
