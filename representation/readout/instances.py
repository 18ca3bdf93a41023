"""Instances: masks of objects by Mask R-CNN, or their keypoints by Keypoint R-CNN."""

from typing import ClassVar, Literal

from pydantic import Field

from representation.readout.objects.coco_format import Wanted
from representation.readout.objects.protocols import INSTANCES, QUICK
from representation.readout.objects.readout import ObjectReadout
from representation.readout.objects.settings import ObjectSettings


class InstanceSettings(ObjectSettings):
    """How instances are found."""

    find: Literal["masks", "keypoints"] = Field("masks", description="of each object")


class Instances(ObjectReadout):
    """Find objects with their masks, or keypoints: on coco, cityscapes or COCO annotations.

    Scores are COCO's, of masks or keypoints first, then of boxes.
    """

    Settings: ClassVar = InstanceSettings
    protocols: ClassVar = INSTANCES
    quick: ClassVar = QUICK

    @staticmethod
    def what(settings: ObjectSettings) -> Wanted:
        """Return what is looked for."""
        assert isinstance(settings, InstanceSettings)
        return settings.find
