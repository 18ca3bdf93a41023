"""Detection: boxes around objects, by Faster R-CNN or RetinaNet on the encoder."""

from typing import ClassVar

from representation.readout.objects.protocols import DETECTION, QUICK
from representation.readout.objects.readout import ObjectReadout


class Detection(ObjectReadout):
    """Detect objects: on coco, voc, bdd100k, cityscapes, or a folder of XML or COCO annotations.

    Scores are COCO's, of boxes: AP (the mean over IoU 0.5 to 0.95), AP50, AP75, by size, recall.
    """

    protocols: ClassVar = DETECTION
    quick: ClassVar = QUICK
