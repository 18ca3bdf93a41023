"""What the features are worth: downstream tasks by the protocols of the papers."""

from representation.readout.classification import Classification
from representation.readout.propagation import Propagation
from representation.readout.segmentation import Segmentation
from representation.readout.task import Readout

READOUTS: dict[str, type[Readout]] = {
    "classification": Classification,
    "propagation": Propagation,
    "segmentation": Segmentation,
}
