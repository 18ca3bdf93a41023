"""VADeR: pixels that are the same point of a scene against pixels of other images.

Pinheiro, Almahairi, Benmalek, Golemo and Courville, "Unsupervised Learning of Dense Visual
Representations", NeurIPS 2020. An encoder with a decoder makes a fine map of each of two views of
an image. The online network's vectors at random pixels of view 1 are the queries, the target
network's at the same points in view 2 their keys; keys of earlier batches are the negatives. There
is no head: the decoder's 128 channels are compared, and `heads` has no effect.

Its view sampling (table 3) is `views.sampling`: unmatched, same, or different, the default.

The paper starts with MoCo's weights, `encoder.init`, and trains them 10,000 times slower than the
decoder. A random encoder would stay random at that rate, so it gets the decoder's, see
`vader.encoder_rate`.

Where the paper is silent:

- the queue gets all keys that were compared, 32 an image, as MoCo's gets all of its own: with 128
  images a step it holds those of the last 16 steps, 2048 images. `vader.queued` = 1 gives it one
  random pixel an image, of 65,536 images. Other images then are the negatives only while an image
  does not come back within the queue, which in a small target it does;
- a key is read between cells, bilinearly, where its query's point really lies;
- views are mirrored and distorted as MoCo v2's, whose weights it starts with;
- batches are normalised in 4 parts, its GPUs, with shuffling as in MoCo (see `moco.py`); the
  decoder has group normalisation, which knows no batch;
- the learning rates fall along half a cosine.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from representation.collapse import spread
from representation.contrast import info_nce
from representation.encoder import read_features
from representation.matched_pixels import MatchedPair, MatchedViews, take_matched_views
from representation.method import Frames, Method
from representation.methods.moco import MoCoSettings, check_parts, numbers_of
from representation.models import new_encoder
from representation.norm import shuffled, split
from representation.optimizer import parameter_groups
from representation.pictures.matches import matches_picture
from representation.queue import Queue
from representation.settings import EncoderSettings, OptimizerSettings, PretrainSettings
from representation.siamese import Siamese
from selfflow.random import key, purpose
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError

SLOW = 1e-4  # 3e-7 / 3e-3, section 3.2


class VADeRSettings(Config):
    """What is VADeR's own."""

    weight: float = Field(10.0, gt=0, description="of the loss")
    queued: int = Field(
        32, ge=1, description="keys of each image that go into the queue, at most views.pixels"
    )
    encoder_rate: float | None = Field(
        None,
        gt=0,
        description="learning rate of the encoder in the decoder's; not set: 1e-4 with first "
        "weights, 1 if they are random",
    )


class VADeRPretraining(PretrainSettings):
    """The configuration of a VADeR run."""

    views: MatchedViews = MatchedViews()
    encoder: EncoderSettings = EncoderSettings(stride=32, decoder="fpn")
    optimizer: OptimizerSettings = OptimizerSettings(
        kind="sgd", learning_rate=3e-3, weight_decay=1e-4
    )
    moco: MoCoSettings = MoCoSettings(temperature=0.07, parts=4)
    vader: VADeRSettings = VADeRSettings()


class VADeR(Method):
    """The step of VADeR (section 3)."""

    Settings = VADeRPretraining
    device_defaults: ClassVar = {
        # A queue of two batches: see configs/pretrain/vader-quick.toml.
        "cpu": {
            "frames.batch_size": 8,
            "optimizer.warmup": 20,
            "moco.momentum": 0.98,
            "moco.queue": 512,
            "moco.in_batch": True,
            "moco.parts": 2,
            "loop.steps": 600,
        },
        "cuda": {"frames.batch_size": 128},
    }
    uses_flow = False
    uses_pairs = False

    def __init__(self, settings: VADeRPretraining, device: torch.device) -> None:
        self.settings = settings
        moco, views = settings.moco, settings.views
        check_parts(moco.parts, settings.frames.batch_size)
        if settings.encoder.decoder == "none":
            raise UserError("vader compares the decoder's pixels; encoder.decoder must be fpn")
        self.encoder = new_encoder(settings.encoder)
        self.cells = self.encoder.positions(views.height, views.width)
        check_pixels(settings, self.cells)
        if moco.parts > 1:
            split(self.encoder, moco.parts)
        self.siamese = Siamese(self.encoder, {}, momentum=moco.momentum, steps=None, device=device)
        self.queue = Queue(moco.queue, self.encoder.channels).to(device)
        self.modules = {**self.siamese.modules, "queue": self.queue}
        self.latest: MatchedPair | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return encoder and decoder, each with its learning rate."""
        rate = self.settings.vader.encoder_rate
        if rate is None:
            rate = 1.0 if self.settings.encoder.init == "random" else SLOW
        assert self.encoder.decoder is not None
        return [
            *parameter_groups(self.encoder.backbone, rate),
            *parameter_groups([self.encoder.decoder]),
        ]

    @torch.no_grad()
    def prepare(self, frames: Frames) -> MatchedPair:
        """Return two views of each image and their matches."""
        return take_matched_views(frames, self.settings.views, self.cells)

    def step(self, batch: MatchedPair, step: int) -> dict[str, Tensor]:
        """Return the loss (equation 2, weighted) and what is watched; queue the keys.

        "accuracy" is the share of queries to which no queued key is nearer than their own,
        "spread" that of the keys, "valid" the share of view 1's pixels that view 2 shows.
        """
        self.latest = batch
        own, moco = self.settings.vader, self.settings.moco
        queries = self._read(self.siamese.online["encoder"](batch.view1.images), batch.positions)
        keys = self._read(self._target_features(batch.view2.images, step), batch.targets)
        negatives = self.queue.negatives()
        self.queue.push(rows(keys[..., : own.queued]))
        images = numbers_of(rows(keys), len(keys)) if moco.in_batch else None
        found = info_nce(rows(queries), rows(keys), negatives, moco.temperature, images)
        return {
            "loss": own.weight * found.loss.mean(),
            "accuracy": found.first.float().mean(),
            "spread": spread(keys),
            "valid": batch.valid.mean(),
        }

    def _read(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the features' vectors at positions `(B, 2, 1, N)`, `(B, C, 1, N)`."""
        return read_features(features, positions, self.encoder.stride, self.encoder.offset)

    @torch.no_grad()
    def _target_features(self, images: Tensor, step: int) -> Tensor:
        """Return the target's map, `(B, C, h, w)`, normalised among other neighbours."""
        network = self.siamese.target["encoder"]
        if self.settings.moco.parts == 1:
            features: Tensor = network(images)
            return features
        order = purpose(key(self.settings.seed, torch.tensor(step)), "shuffling BN")
        return shuffled(network, images, order)

    def after_step(self, step: int) -> None:
        """Let the target follow the online network."""
        self.siamese.follow(step)

    def pictures(self) -> dict[str, Tensor]:
        """Return the latest batch's first image: its views, with their matches."""
        if self.latest is None:
            return {}
        pair = self.latest
        picture = matches_picture(pair.view1, pair.view2, pair.positions, pair.targets)
        return {"matches": picture}


def check_pixels(settings: VADeRPretraining, cells: Tensor) -> None:
    """Raise a UserError unless a view has as many cells `(1, 2, h, w)` as are to be matched."""
    wanted, there = settings.views.pixels, cells[0, 0].numel()
    if wanted > there:
        raise UserError(f"views.pixels = {wanted}, but a view has {there} pixels at this stride")
    if settings.vader.queued > wanted:
        raise UserError(
            f"vader.queued = {settings.vader.queued}, but views.pixels = {wanted} keys an image"
        )


def rows(vectors: Tensor) -> Tensor:
    """Return vectors `(B, C, 1, N)` as rows, those of each image together, `(B·N, C)`."""
    return vectors[:, :, 0].transpose(1, 2).flatten(0, 1)
