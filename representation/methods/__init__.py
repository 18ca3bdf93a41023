"""The pre-training methods by name. A new one is a file beside these and a line here."""

from representation.method import Method
from representation.methods.byol import BYOL
from representation.methods.cacl import CACL
from representation.methods.flowe import FlowE
from representation.methods.moco import MoCo
from representation.methods.multisiam import MultiSiam
from representation.methods.multisiam_moco import MultiSiamMoCo
from representation.methods.simclr import SimCLR
from representation.methods.vader import VADeR

METHODS: dict[str, type[Method]] = {
    "flowe": FlowE,
    "byol": BYOL,
    "simclr": SimCLR,
    "moco": MoCo,
    "cacl": CACL,
    "vader": VADeR,
    "multisiam": MultiSiam,
    "multisiam-moco": MultiSiamMoCo,
}
