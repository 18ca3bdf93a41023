"""Whether features are kept, and where."""

from dataclasses import dataclass
from pathlib import Path

from representation.encoder import Encoder
from representation.readout.dense.feature_cache import (
    encoder_key,
    features_folder,
    fits,
    make_room,
)
from representation.readout.dense.settings import DenseSettings


@dataclass(frozen=True)
class CachePlan:
    """What is done about the features of a frozen encoder.

    Attributes:
        folder: where all encoders' features are kept, or None if these are not.
        line: says so to a person, with the reason.
        needed: bytes of this encoder's features.
        limit: bytes of all.
    """

    folder: Path | None
    line: str
    needed: int = 0
    limit: int = 0

    def make_room(self, encoder: Encoder) -> None:
        """Remove features that are longest unused where these would not fit beside them."""
        if self.folder is not None:
            make_room(self.folder, self.folder / encoder_key(encoder), self.needed, self.limit)


def plan_cache(
    settings: DenseSettings, encoder: Encoder, size: tuple[int, int], images: int
) -> CachePlan:
    """Return what is done about the features of so many images (height, width)."""
    if settings.training.finetune:
        return CachePlan(None, "features are computed in every step: the encoder is fine-tuned")
    if settings.augmentation.active:
        return CachePlan(None, "features are computed in every step: images are augmented")
    if not settings.cache.keep:
        return CachePlan(None, "features are computed in every step: cache.keep is false")
    cells = -(-size[0] // encoder.stride) * -(-size[1] // encoder.stride)
    needed = 2 * encoder.channels * cells * images
    folder, limit = features_folder(), int(settings.cache.gib * 2**30)
    space = f"{needed / 2**30:.2g} GiB"
    if not fits(folder, folder / encoder_key(encoder), needed, limit):
        return CachePlan(
            None,
            f"features are computed in every step: {space} are more than cache.gib, "
            f"{settings.cache.gib:g}, or than the disk has",
        )
    line = f"features are computed once and kept in {folder}, {space}"
    return CachePlan(folder, line, needed, limit)
