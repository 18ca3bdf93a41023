"""Classification of whole images, by nearest neighbours and by a linear classifier.

Images in folders by class; frozen features, averaged over the image. The linear classifier is
logistic regression, trained to its optimum, so that no learning rate has to be found; its weight
decay is the best of some on a fifth of the training images, and all of them are trained on then.
Papers train it by SGD on augmented crops instead; numbers are close, not the same.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from representation.known_encoders import description
from representation.readout.class_folders import ClassFolders, Labelled, read_class_folders
from representation.readout.logistic import fit_logistic
from representation.readout.nearest import nearest_neighbours
from representation.readout.opening import open_encoder
from representation.readout.places import find_place
from representation.readout.pooled import pooled_features
from representation.readout.settings import ReadoutSettings
from representation.readout.task import Outcome, Readout
from selfflow.random import key, purpose, uniform
from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.runs.wording import counted

TUNED_ON = 0.2  # share of the training images that the weight decay is chosen on


class ClassificationSettings(ReadoutSettings):
    """How images are classified."""

    protocol: str = Field("default", description="whose numbers are taken")
    short_side: int = Field(256, ge=16, description="px, to which images are resized")
    crop: int = Field(224, ge=16, description="px, of the middle that is looked at")
    batch_size: int = Field(32, ge=1, description="images at a time")
    neighbours: int = Field(20, ge=1, description="that vote")
    temperature: float = Field(0.07, gt=0, description="of their votes")
    weight_decays: tuple[PositiveFloat, ...] = Field(
        (1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1, description="of the linear classifier"
    )


class Classification(Readout):
    """Classify images in class folders: DIR/train/CLASS and DIR/val/CLASS, or DIR/CLASS."""

    Settings = ClassificationSettings
    default_protocol = "default"
    protocols: ClassVar = {
        "default": {},
        # Caron et al. 2021, eval_knn.py
        "dino": {"neighbours": 20, "temperature": 0.07, "short_side": 256, "crop": 224},
    }
    quick: ClassVar = {"short_side": 128, "crop": 112}

    def __init__(self, settings: ClassificationSettings, data_root: Path | None) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.folder = find_place(settings.data, {}, data_root)[1]
        self.data = read_class_folders(self.folder)
        self.network = open_encoder(settings, self.device)

    def describe(self) -> list[str]:
        """Return lines for a person."""
        data = self.data
        return [
            f"{self.settings.encoder}: {self.network.architecture} at stride "
            f"{self.network.stride}, on {self.device}",
            f"{self.folder}: {len(data.classes)} classes, {counted(len(data.train), 'image')} to "
            f"learn from, {len(data.test)} to test on",
        ]

    def encoder(self) -> Mapping[str, Any]:
        """Return what a result says of the encoder."""
        return description(self.settings.encoder, self.network)

    def run(self, run: Run) -> Outcome:
        """Return accuracies of nearest neighbours and of the linear classifier."""
        data, settings = self.data, self.settings
        train, test = self._features(data.train), self._features(data.test)
        labels, truth = torch.tensor(data.train.labels), torch.tensor(data.test.labels)
        count = len(data.classes)
        votes = nearest_neighbours(
            test,
            train,
            labels,
            count=settings.neighbours,
            temperature=settings.temperature,
            classes=count,
        )
        train, test = standardised(train, test)
        tried = tune(train, labels, count, settings.weight_decays, settings.seed)
        best = max(tried, key=lambda decay: tried[decay])
        linear = fit_logistic(train, labels, count, weight_decay=best)
        found = linear(test).argmax(1)
        return Outcome(
            scores={"knn": accuracy(votes.argmax(1), truth), "linear": accuracy(found, truth)},
            data={
                "folder": self.folder.name,
                "classes": list(data.classes),
                "train": len(data.train),
                "test": len(data.test),
                "digest": digest(data),
            },
            details={
                "weight_decay": best,
                "tuning": {str(decay): value for decay, value in tried.items()},
                "linear_by_class": {
                    name: accuracy(found[truth == number], truth[truth == number])
                    for number, name in enumerate(data.classes)
                },
            },
        )

    def _features(self, images: Labelled) -> Tensor:
        settings = self.settings
        return pooled_features(
            self.network,
            images.paths,
            short_side=settings.short_side,
            crop=settings.crop,
            batch_size=settings.batch_size,
            device=self.device,
        )


def digest(data: ClassFolders) -> str:
    """Return 16 hexadecimal digits that tell a data set, by its files' names, from others."""
    sides = [
        [(path.name, label) for path, label in zip(side.paths, side.labels, strict=True)]
        for side in (data.train, data.test)
    ]
    return hashlib.sha256(repr(sides).encode()).hexdigest()[:16]


def tune(
    features: Tensor, labels: Tensor, classes: int, weight_decays: tuple[float, ...], seed: int
) -> dict[float, float]:
    """Return the accuracy of each weight decay on a random fifth of the examples, held out."""
    if len(weight_decays) == 1:
        return {weight_decays[0]: float("nan")}
    held_out = uniform(purpose(key(seed, torch.arange(len(labels))), "tuning")) < TUNED_ON
    if held_out.all() or not held_out.any():
        raise UserError(f"{len(labels)} images are too few to choose a weight decay on; set one")
    kept = ~held_out
    tried = {}
    for decay in weight_decays:
        linear = fit_logistic(features[kept], labels[kept], classes, weight_decay=decay)
        tried[decay] = accuracy(linear(features[held_out]).argmax(1), labels[held_out])
    return tried


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return features `(N, C)` with zero mean and unit deviation in each channel of `train`."""
    mean, deviation = train.mean(0), train.std(0, correction=0).clamp_min(1e-6)
    return (train - mean) / deviation, (test - mean) / deviation


def accuracy(found: Tensor, truth: Tensor) -> float:
    """Return the share of labels `(N,)` that were found."""
    return float((found == truth).double().mean())
