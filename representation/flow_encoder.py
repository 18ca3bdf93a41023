"""A flow network's feature encoder, to compare learned features with (FlowE, table 4, "RAFT")."""

import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder
from selfflow.raft import RAFT, STRIDE

PREFIX = "flow/"


class FlowEncoder(Encoder):
    """The features of RAFT that correlation compares, at stride 8.

    Images are padded on the right and at the bottom by replication, as RAFT does on all sides, up
    to a multiple of 8. Its convolutions are padded so that cells are centred on pixel 8 · i.

    Args:
        network: its feature encoder is taken, not copied.
        name: of the flow model.
    """

    def __init__(self, network: RAFT, name: str) -> None:
        features = network.feature_encoder
        super().__init__(
            PREFIX + name, [features.conv.out_channels], [STRIDE], mean=(0.5,) * 3, std=(0.5,) * 3
        )
        self.network = features

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        """Return the one stage, `(B, C, ceil(H/8), ceil(W/8))`."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        features: Tensor = self.network(padded)
        return [features]
