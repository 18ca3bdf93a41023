"""CACL: cycle-attention contrastive learning (Pang et al., AAAI 2022).

"Unsupervised Representation for Semantic Segmentation by Implicit Cycle-Attention Contrastive
Learning". MoCo's frame with three heads on an encoder of stride 8, each with a queue of its own:
the global head contrasts frames of a film with those of others, the pixel head each cell with the
cell of the other frame that the global head finds most like it, and the cycle-attention head goes
from each cell to the other frame and back, by affinity, and is to arrive where it began. The loss
is the sum of the three. Both views show the same place of two frames, 8 frames apart.

Its ablations (tables 1a to 1c) are settings:

    one head or two          cacl.global_head, cacl.pixel_head, cacl.cycle_head
    only augmentation        views.video=false
    cross video frames       cacl.match=place, and frames.gaps
    without pixel shuffle    cacl.pixel_shuffle=false
    without soft cycle       cacl.soft_cycle=false

Equation 4 sums over {pⁱ} in its denominator: the negatives {p₋} are meant, as in equation 1.
All that is MoCo's is said to be version 2's, but the temperature of 0.07 is version 1's.

Where the paper is silent, or cannot be followed to the letter:

- the global head's vector is the mean of its projected cells, because u's pixels are spoken of;
- a view is mirrored in both frames or in neither, else the views would not show the same place;
- images are rolled by whole cells, see `representation.rolling`, the two views of a pair by
  different distances: by the same, equal places would be equally far from the padding in both;
- no gradient flows through the targets of the soft cycle, in which the global head is the teacher;
- the queues of pixel and cycle head get a random cell or several of each image: all would leave
  no room for other films;
- the 16 parts of batch normalisation are the paper's 16 GPUs, see `representation.methods.moco`;
- the hidden layer, "as wide as its input", is a setting, with the 2048 channels of a ResNet-50.

A ResNet-50 starts from MoCo v2's weights in the paper: `encoder.init`. The default is random.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from representation.collapse import spread
from representation.contrast import Contrast, info_nce
from representation.correspondence import View
from representation.cycle import affinity, cycle, cycle_loss
from representation.heads import contrastive_head
from representation.image_views import side_by_side
from representation.method import Frames, Method
from representation.methods.moco import MoCoSettings, check_parts, numbers_of
from representation.models import new_encoder
from representation.norm import shuffled, split
from representation.optimizer import parameter_groups
from representation.pictures.matches import matches_picture
from representation.queue import Queue
from representation.rolling import check_whole_cells, draw_shifts, roll
from representation.same_place import SamePlaceViews, take_same_place
from representation.settings import (
    EncoderSettings,
    FrameSettings,
    HeadSettings,
    OptimizerSettings,
    PretrainSettings,
)
from representation.siamese import Siamese
from selfflow.flow import sample
from selfflow.random import integers, key, purpose
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError


class CACLSettings(Config):
    """What is CACL's own."""

    global_head: bool = Field(True, description="contrast frames")
    pixel_head: bool = Field(True, description="contrast cells")
    cycle_head: bool = Field(True, description="to the other frame's cells and back")
    match: Literal["affinity", "place"] = Field(
        "affinity",
        description="a cell's positive: the most similar one to the global head, or the one at "
        "the same place, as always without a global head",
    )
    cycle_negatives: bool = Field(True, description="the way back may end in the queue, too")
    soft_cycle: bool = Field(
        True,
        description="the way back is to end where the global head sees similarity, if there is "
        "one; off: where it began",
    )
    pixel_shuffle: bool = Field(True, description="roll images round their edges, features back")
    queued: int = Field(1, ge=1, description="cells of an image that become negatives")


class CACLPretraining(PretrainSettings):
    """The configuration of a CACL run."""

    frames: FrameSettings = FrameSettings(gaps=(8,))
    views: SamePlaceViews = SamePlaceViews()
    encoder: EncoderSettings = EncoderSettings(stride=8)
    heads: HeadSettings = HeadSettings(hidden=2048, out=128)
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1.0)
    moco: MoCoSettings = MoCoSettings(temperature=0.07, queue=16_384, parts=16)
    cacl: CACLSettings = CACLSettings()


@dataclass(frozen=True)
class RolledPair:
    """Two views of the same place, and what is drawn at random for the step.

    Attributes:
        view1: of frame 1.
        view2: of frame 2.
        shifts1: by which view 1 is rolled, `(B, 2)` pixels.
        shifts2: by which view 2 is, likewise.
        queued: numbers of the cells of view 2 that become negatives, `(B, n)`.
    """

    view1: View
    view2: View
    shifts1: Tensor
    shifts2: Tensor
    queued: Tensor


class CACL(Method):
    """The step of CACL."""

    Settings = CACLPretraining
    device_defaults: ClassVar = {
        # Why so: see configs/pretrain/cacl-quick.toml.
        "cpu": {
            "frames.batch_size": 16,
            "encoder.stride": 16,
            "heads.hidden": 512,
            "optimizer.warmup": 20,
            "moco.momentum": 0.98,
            "moco.queue": 32,
            "moco.in_batch": True,
            "moco.parts": 2,
            "cacl.soft_cycle": False,
            "loop.steps": 600,
        },
        "cuda": {"frames.batch_size": 32, "moco.parts": 2},
    }
    uses_flow = False

    def __init__(self, settings: CACLPretraining, device: torch.device) -> None:
        self.settings = settings
        self.uses_pairs = settings.views.video
        heads, moco = settings.heads, settings.moco
        names = head_names(settings.cacl)
        check_parts(moco.parts, settings.frames.batch_size)
        self.encoder = new_encoder(settings.encoder)
        self.coarsest = self.encoder.backbone_stride
        if settings.cacl.pixel_shuffle:
            size = settings.views.height, settings.views.width
            check_whole_cells(*size, self.coarsest, "cacl.pixel_shuffle")
        if moco.parts > 1:
            split(self.encoder, moco.parts)
        self.siamese = Siamese(
            self.encoder,
            {n: contrastive_head(self.encoder.channels, heads.hidden, heads.out) for n in names},
            momentum=moco.momentum,
            steps=None,
            device=device,
        )
        self.queues = {n: Queue(moco.queue, heads.out).to(device) for n in names}
        queues = {f"queue of {name}": queue for name, queue in self.queues.items()}
        self.modules = {**self.siamese.modules, **queues}
        self.latest: tuple[RolledPair, Tensor | None] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder and heads; the target is moved by `after_step`."""
        return parameter_groups([self.siamese.online])

    @torch.no_grad()
    def prepare(self, frames: Frames) -> RolledPair:
        """Return two views of each pair and what is drawn for the step."""
        views, own, keys = self.settings.views, self.settings.cacl, frames.keys
        size, device = (views.height, views.width), frames.image1.device
        shifts = torch.zeros(2, len(keys), 2, dtype=torch.long)
        if own.pixel_shuffle:
            drawn = [purpose(keys, "pixel shuffle", number) for number in (1, 2)]
            shifts = torch.stack([draw_shifts(k, *size, self.coarsest) for k in drawn])
        cells = self.encoder.positions(*size)[0, 0].numel()
        queued = integers(purpose(keys, "queued cells"), 0, cells, own.queued)
        view1, view2 = take_same_place(frames, views)
        shifts1, shifts2 = shifts.to(device)
        return RolledPair(view1, view2, shifts1, shifts2, queued.to(device))

    def step(self, batch: RolledPair, step: int) -> dict[str, Tensor]:
        """Return the loss, its terms by head, and the smallest spread of the target's heads.

        "accuracy" is the share of frames to which no queued one is nearer than the pair's other,
        "pixel accuracy" the same of cells and their matches.
        """
        own, keys = self._vectors(batch, step)
        similar = matches = None
        if "global" in own:  # the teacher of the other two
            similar = affinity(own["global"].detach(), keys["global"])
            if self.settings.cacl.match == "affinity":
                matches = similar.argmax(2)
        self.latest = batch, matches
        terms, accuracies = {}, {}
        if "global" in own:
            query, positive = own["global"].mean(1), keys["global"].mean(1)
            found = self._contrast("global", query, positive)
            terms["global"], accuracies["accuracy"] = mean_of(found)
        if "pixel" in own:
            matched = keys["pixel"] if matches is None else pick(keys["pixel"], matches)
            found = self._contrast("pixel", own["pixel"], matched)
            terms["pixel"], accuracies["pixel accuracy"] = mean_of(found)
        if "cycle" in own:
            terms["cycle"] = self._cycle(own["cycle"], keys["cycle"], similar)
        loss = torch.stack(list(terms.values())).sum()
        self._push(keys, batch.queued)
        spreads = [spread(each.transpose(1, 2)[..., None]) for each in keys.values()]
        return {"loss": loss, **terms, **accuracies, "spread": torch.stack(spreads).min()}

    def _vectors(self, batch: RolledPair, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return view 1's cells in the online heads and view 2's in the target's, `(B, N, C)`."""
        online, target = self.siamese.online, self.siamese.target
        features = online["encoder"](roll(batch.view1.images, batch.shifts1))
        features = self._rolled_back(features, batch.shifts1)
        with torch.no_grad():
            others = self._keys(roll(batch.view2.images, batch.shifts2), step)
            others = self._rolled_back(others, batch.shifts2)
            keys = {name: vectors(target[name](others)) for name in self.queues}
        return {name: vectors(online[name](features)) for name in self.queues}, keys

    def _rolled_back(self, features: Tensor, shifts: Tensor) -> Tensor:
        """Return features `(B, C, h, w)` of rolled images, each cell at its place again."""
        return roll(features, -shifts // self.encoder.stride)

    def _keys(self, images: Tensor, step: int) -> Tensor:
        """Return the target's features, `(B, C, h, w)`, normalised among other neighbours."""
        network = self.siamese.target["encoder"]
        if self.settings.moco.parts == 1:
            features: Tensor = network(images)
            return features
        order = purpose(key(self.settings.seed, torch.tensor(step)), "shuffling BN")
        return shuffled(network, images, order)

    def _contrast(self, name: str, queries: Tensor, positives: Tensor) -> Contrast:
        """Return the contrastive loss of vectors `(B, ..., C)` (equations 3 and 4)."""
        negatives, moco = self.queues[name].negatives(), self.settings.moco
        count = len(queries)
        queries, positives = (each.reshape(-1, each.shape[-1]) for each in (queries, positives))
        images = numbers_of(queries, count) if moco.in_batch else None
        return info_nce(queries, positives, negatives, moco.temperature, images)

    def _cycle(self, cells: Tensor, others: Tensor, similar: Tensor | None) -> Tensor:
        """Return the mean loss of the way to the other frame and back (equations 5 and 6).

        The soft cycle's target is softmax(⟨u, u₊⟩ / t): the other frame's cells stand for this
        one's at the same place.
        """
        own, temperature = self.settings.cacl, self.settings.moco.temperature
        negatives = self.queues["cycle"].negatives() if own.cycle_negatives else None
        returns = cycle(cells, others, negatives, temperature)
        if similar is None or not own.soft_cycle:
            return cycle_loss(returns).mean()
        return cycle_loss(returns, (similar / temperature).softmax(2)).mean()

    def _push(self, keys: dict[str, Tensor], queued: Tensor) -> None:
        """Queue the frames' means for the global head, some cells of each for the others."""
        for name, queue in self.queues.items():
            cells = pick(keys[name], queued).flatten(0, 1)
            queue.push(keys[name].mean(1) if name == "global" else cells)

    def after_step(self, step: int) -> None:
        """Let the target follow the online network."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the latest first pair: its views, and what view 1's cells match in view 2.

        Of the matches, those by affinity, a picture of their own shows a few.
        """
        if self.latest is None:
            return {}
        pair, matches = self.latest
        if matches is None:
            return side_by_side((pair.view1, pair.view2))
        first, second = pair.view1.images[:1], pair.view2.images[:1]
        positions = self.encoder.positions(*first.shape[-2:])
        found = positions.flatten(2)[:, :, matches[0]].view_as(positions)
        matched = F.interpolate(sample(second, found), first.shape[-2:], mode="nearest")
        return {
            "views": torch.cat((first, second, matched), 3)[0],
            "matches": matches_picture(pair.view1, pair.view2, positions, found),
        }


def mean_of(found: Contrast) -> tuple[Tensor, Tensor]:
    """Return the mean loss and the accuracy."""
    return found.loss.mean(), found.first.float().mean()


def vectors(maps: Tensor) -> Tensor:
    """Return the vectors of all cells of maps `(B, C, h, w)`, `(B, h·w, C)`."""
    return maps.flatten(2).transpose(1, 2)


def pick(cells: Tensor, numbers: Tensor) -> Tensor:
    """Return the cells of those numbers, `(B, n, C)` of `(B, N, C)` by `(B, n)`."""
    return cells.take_along_dim(numbers[..., None], 1)


def head_names(settings: CACLSettings) -> list[str]:
    """Return the heads that there are; UserError if there are none."""
    names = [name for name in ("global", "pixel", "cycle") if getattr(settings, f"{name}_head")]
    if not names:
        raise UserError("cacl needs at least one of its heads: global, pixel, cycle")
    return names
