"""What the features are worth: downstream tasks by the protocols of the papers."""

from representation.readout.classification import Classification
from representation.readout.depth import Depth
from representation.readout.detection import Detection
from representation.readout.instances import Instances
from representation.readout.propagation import Propagation
from representation.readout.segmentation import Segmentation
from representation.readout.task import Readout

READOUTS: dict[str, type[Readout]] = {
    "classification": Classification,
    "detection": Detection,
    "instances": Instances,
    "depth": Depth,
    "propagation": Propagation,
    "segmentation": Segmentation,
}
