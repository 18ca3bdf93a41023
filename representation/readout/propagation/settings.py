"""The numbers of mask propagation, and whose they are."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from representation.readout.propagation.cells import Reading
from representation.readout.propagation.clip import Decision, Rescaling
from representation.readout.propagation.frame_features import Fit
from representation.readout.propagation.neighbours import Selection, Window
from representation.readout.settings import ReadoutSettings


class PropagationSettings(ReadoutSettings):
    """How masks are propagated; the defaults are CRW's."""

    data: str = Field("davis", description="davis, or a folder in its layout")
    protocol: str = Field("crw", description="whose numbers are taken")
    year: Literal[2016, 2017] | None = Field(
        None, description="2016: a sequence's objects are one; not set: as the list that is there"
    )
    subset: str = Field("val", description="of DAVIS: ImageSets/YEAR/SUBSET.txt")
    resolution: str = Field("480p", description="of DAVIS: the folder's name")
    sequences: tuple[str, ...] = Field((), description="these alone")
    sequence_limit: int | None = Field(None, ge=1, description="the first so many sequences alone")
    frame_limit: int | None = Field(None, ge=3, description="the first so many frames of each")

    side: int | None = Field(None, ge=16, description="px, of frames; not set: as they are")
    fit: Fit = Field("short", description="which side that is: short, or square: both")
    multiple: int = Field(1, ge=1, description="px, to which the long side is rounded down")
    antialias: bool = Field(False, description="where frames are made smaller")
    without_last_stage: bool = Field(
        True, description="of a backbone without decoder, the stage before the last"
    )
    normalised: bool = Field(True, description="features have length 1")
    aligned: bool = Field(
        False, description="cells are where the encoder's are; no: as if the map were a picture"
    )

    previous: int = Field(20, ge=0, description="frames before, besides the first one")
    padded: bool = Field(True, description="the first frame stands for missing previous ones")
    neighbours: int = Field(10, ge=1, description="cells whose labels count")
    temperature: float = Field(0.05, gt=0, description="of the softmax over affinities")
    selection: Selection = Field("together", description="of neighbours: all frames together, each")
    radius: float | None = Field(12.0, gt=0, description="cells; not set: everywhere")
    window: Window = Field("circle", description="circle: nearer than that; square: not further")
    first_windowed: bool = Field(False, description="the window applies to the first frame too")

    reading: Reading = Field("bilinear", description="of the first mask at cells, or nearest")
    rescaling: Rescaling = Field("none", description="of each object's map to 0..1: output, maps")
    decision: Decision = Field("frame", description="at the frame's or the input's resolution")


# Jabri et al., "Space-time correspondence as a contrastive random walk" (NeurIPS 2020), by their
# code's README and test.py. Their own network is a ResNet-18 without layer4.
CRW: Mapping[str, Any] = {
    "side": None,
    "without_last_stage": True,
    "aligned": False,
    "previous": 20,
    "padded": True,
    "neighbours": 10,
    "temperature": 0.05,  # the README's; the code's default is 0.07
    "selection": "together",
    "radius": 12.0,
    "window": "circle",
    "first_windowed": False,
    "reading": "bilinear",
    "rescaling": "none",
    "decision": "frame",
}

# Caron et al., "Emerging properties in self-supervised vision transformers" (ICCV 2021), by their
# eval_video_segmentation.py. Left out: red is divided by 0.228 there, by ImageNet's 0.229 here; of
# affinities that are equal to the last that counts, all count there.
DINO: Mapping[str, Any] = {
    "side": 480,
    "fit": "short",
    "multiple": 64,
    "without_last_stage": False,
    "aligned": False,
    "previous": 7,
    "padded": False,
    "neighbours": 5,
    "temperature": 0.1,
    "selection": "together",
    "radius": 12.0,
    "window": "square",
    "first_windowed": True,
    "reading": "nearest",
    "rescaling": "output",
    "decision": "input",
}

# VADeR names TimeCycle's evaluation, and 320 x 320 and 480 x 480; nothing else. So these are the
# numbers of TimeCycle's code (Wang, Jabri and Efros, "Learning correspondence from the
# cycle-consistency of time", CVPR 2019: test_davis.py, run_test.sh, model_test.py). Whether VADeR
# changed any of them, above all the temperature and the neighbours for its 128 channels at stride
# 4, is not known. There the first frame as a previous one carries a mask that was propagated from
# itself; here it carries the given one.
VADER: Mapping[str, Any] = {
    "side": 320,  # VADeR's and TimeCycle's; VADeR also reports 480
    "fit": "square",
    "without_last_stage": False,
    "aligned": False,
    "previous": 7,
    "padded": True,
    "neighbours": 5,  # run_test.sh; the code's default is 20
    "temperature": 512**-0.5,  # of TimeCycle's 512 channels
    "selection": "each",
    "radius": None,
    "first_windowed": False,
    "reading": "bilinear",
    "rescaling": "maps",
    "decision": "input",
}

PROTOCOLS: Mapping[str, Mapping[str, Any]] = {"crw": CRW, "dino": DINO, "vader": VADER}
QUICK: Mapping[str, Any] = {"side": 160, "sequence_limit": 2, "frame_limit": 20}
