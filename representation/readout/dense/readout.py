"""A readout of every pixel: data and encoder opened, heads trained, scores measured."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from representation.encoder import Encoder
from representation.known_encoders import description, find_encoder
from representation.readout.dense.batches import Batches
from representation.readout.dense.bootstrap import interval
from representation.readout.dense.examples import (
    Example,
    Parts,
    check_apart,
    check_sizes,
    digest,
    held_out,
    label_share,
    select,
    shuffled,
)
from representation.readout.dense.feature_cache import (
    Features,
    encoder_key,
    features_folder,
    fits,
    make_room,
)
from representation.readout.dense.heads import Heads
from representation.readout.dense.inference import Reader, evaluate
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.sources import size_of
from representation.readout.dense.target import Target
from representation.readout.dense.training import steps, train_heads
from representation.readout.task import Outcome, Readout
from selfflow.runs.devices import pick_device
from selfflow.runs.run import Run
from selfflow.runs.wording import counted


class DenseReadout(Readout):
    """What segmentation and depth share.

    Attributes:
        settings: of the readout.
        folder: the data set's.
        target: what is read out.
        train: what is learned from.
        test: what is tested on.
        network: the encoder.
    """

    Settings: ClassVar[type[DenseSettings]] = DenseSettings
    settings: Any
    folder: Path
    target: Target
    train: list[Example]
    test: list[Example]

    def __init__(self, settings: Any, data_root: Path | None) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.open_data(data_root)
        check_sizes([*self.train, *self.test])
        self.network = self._encoder()
        self.features = Features(self.network, settings.parts.short_side, self._kept())

    @abstractmethod
    def open_data(self, data_root: Path | None) -> None:
        """Set `folder`, `target`, `train` and `test`; see `choose`."""

    @abstractmethod
    def picture(self, example: Example, outputs: Tensor) -> Any:
        """Return a picture of an image, its label map and what was read out."""

    @abstractmethod
    def write_prediction(self, path: Path, outputs: Tensor) -> None:
        """Write what was read out of an image as a PNG."""

    def choose(self, parts: Parts, train: str, test: str) -> None:
        """Set `train` and `test` to what the settings choose of a data set's parts."""
        own, source = self.settings.parts, str(self.folder)
        chosen = select(parts, own.train or train, source)
        self.test = select(parts, own.test or test, source)
        check_apart(chosen, self.test)
        self.train = label_share(chosen, own.label_share, own.subset_seed)
        if own.most is not None:
            self.train, self.test = fewer(self.train, own.most), fewer(self.test, own.most)

    def describe(self) -> list[str]:
        """Return lines for a person."""
        settings = self.settings
        training = settings.training
        count = steps(settings, len(self.train))
        share = settings.parts.label_share
        some = f" ({share:g} % of those with labels)" if share < 100 else ""
        what = "fine-tuned" if training.finetune else "frozen"
        lines = [
            f"{settings.encoder}: {self.network.architecture} at stride {self.network.stride}, "
            f"{what}, on {self.device}; head: {settings.head.kind}",
            f"{self.folder}: {counted(len(self.train), 'image')} to learn from{some}, "
            f"{len(self.test)} to test on",
            f"{counted(count, 'step')}, batch {training.batch_size}, learning "
            f"rate{'s' * (len(training.learning_rates) > 1)} "
            f"{', '.join(f'{rate:g}' for rate in training.learning_rates)}",
            self.cache_line,
        ]
        return lines

    def encoder(self) -> Mapping[str, Any]:
        """Return what a result says of the encoder."""
        return description(self.settings.encoder, self.network)

    def run(self, run: Run) -> Outcome:
        """Choose the learning rate if there are several, train the head and measure it."""
        if (kept := self.features.folder) is not None:
            make_room(kept.parent, kept, *self.room)
        rates = self.settings.training.learning_rates
        tuning = self._tuning(run) if len(rates) > 1 else {}
        best = best_rate(tuning, self.target) if tuning else rates[0]
        heads, result = self._trained(self.train, (best,), run, "Training")
        tallies = self._tallies(heads, self.test, "Test", self._show(run))[:, 0]
        total = tallies.sum(0)
        scores = self.target.scores(total)
        return Outcome(
            scores=scores,
            data=self.data(),
            details={
                "learning_rate": best,
                "tuning": {str(rate): value for rate, value in tuning.items()},
                "steps": result.steps,
                "skipped": result.skipped,
                "interval": self._interval(tallies),
                "cached": self.features.folder is not None,
                **self.target.details(total),
            },
        )

    def data(self) -> dict[str, Any]:
        """Return what a result says of the data."""
        own = self.settings.parts
        return {
            "folder": self.folder.name,
            "train": len(self.train),
            "test": len(self.test),
            "label_share": own.label_share,
            "train_names": digest(self.train),
            "test_names": digest(self.test),
        }

    def _encoder(self) -> Encoder:
        settings = self.settings

        def find(stride: Any) -> Encoder:
            return find_encoder(
                settings.encoder,
                architecture=settings.architecture,
                stride=stride,
                seed=settings.seed,
                device=self.device,
            )

        encoder = find(settings.stride)
        wanted = settings.output_stride
        if settings.stride or wanted in (None, encoder.stride) or encoder.decoder is not None:
            return encoder
        return find(wanted)

    def _kept(self) -> Path | None:
        """Return where features are kept, or None, with the reason in `cache_line`."""
        settings = self.settings
        if not settings.cache.keep:
            self.cache_line = "features are not kept: cache.keep is false"
            return None
        if settings.training.finetune or settings.augmentation.active:
            why = "the encoder is fine-tuned" if settings.training.finetune else "images vary"
            self.cache_line = f"features are computed in every step, because {why}"
            return None
        height, width = size_of(self.train[0].image)
        if (short := settings.parts.short_side) is not None:
            height, width = (round(side * short / min(height, width)) for side in (height, width))
        stride, count = self.network.stride, len(self.train) + len(self.test)
        cells = -(-height // stride) * -(-width // stride)
        needed = 2 * self.network.channels * cells * count
        folder, limit = features_folder(), int(settings.cache.gib * 2**30)
        size = f"{needed / 2**30:.2g} GiB"
        if not fits(folder, folder / encoder_key(self.network), needed, limit):
            self.cache_line = f"features are computed in every step: they would take {size}"
            return None
        self.cache_line = f"features are computed once and kept in {folder}, {size}"
        self.room = needed, limit
        return folder

    def _batches(self, examples: list[Example]) -> Batches:
        features = self.features if self.features.folder is not None else None
        fill = self.network.mean[0].cpu()
        return Batches(examples, self.target, self.settings, features, fill)

    def _trained(
        self, examples: list[Example], rates: tuple[float, ...], run: Run, title: str
    ) -> Any:
        batches = self._batches(examples)
        return train_heads(self.network, self.target, batches, self.settings, rates, run, title)

    def _tallies(
        self,
        heads: Heads,
        examples: list[Example],
        title: str,
        show: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        reader = Reader(self.network, heads, self.features, self.settings.window)
        return evaluate(reader, examples, self.target, title, show)

    def _tuning(self, run: Run) -> dict[float, float]:
        """Return each learning rate's score on training images that its head has not seen."""
        training = self.settings.training
        kept, judged = held_out(self.train, training.held_out)
        sweep = Run(run.path / "sweep")
        with sweep:
            heads, _ = self._trained(kept, training.learning_rates, sweep, "Learning rates")
        total = self._tallies(heads, judged, "Learning rates").sum(0)
        scores = self.target.score(total).tolist()
        return dict(zip(training.learning_rates, scores, strict=True))

    def _interval(self, tallies: Tensor) -> list[float] | None:
        """Return the 95 % bootstrap interval of the first score over the test images."""
        settings = self.settings
        if not settings.bootstrap or len(tallies) < 2:
            return None
        return list(interval(tallies, self.target.score, settings.bootstrap, settings.block))

    def _show(self, run: Run) -> Callable[[int, Tensor], None]:
        """Return what writes pictures and predictions of test images into the run's folder."""
        settings, count = self.settings, len(self.test)
        shown = set(torch.linspace(0, count - 1, min(settings.pictures, count)).int().tolist())

        def show(number: int, outputs: Tensor) -> None:
            example = self.test[number]
            name = example.name.replace("/", "_") + ".png"
            if number in shown:
                self.picture(example, outputs.cpu()).save(_made(run.path / "pictures") / name)
            if settings.predictions:
                self.write_prediction(_made(run.path / "predictions") / name, outputs.cpu())

        return show


def best_rate(tuning: Mapping[float, float], target: Target) -> float:
    """Return the learning rate with the best score; one whose score is NaN only where all are."""
    known = {rate: score for rate, score in tuning.items() if not math.isnan(score)}
    if not known:
        return next(iter(tuning))
    pick = min if target.lower_is_better else max
    return pick(known, key=lambda rate: known[rate])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fewer(examples: list[Example], most: int) -> list[Example]:
    """Return at most so many examples, which their names decide, in order."""
    chosen = set(shuffled(examples, "fewer")[:most])
    return [example for example in examples if example in chosen]
