"""A readout of every pixel: data and encoder opened, heads trained, scores measured."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from representation.encoder import Encoder
from representation.known_encoders import description
from representation.readout.dense.batches import Batches
from representation.readout.dense.bootstrap import interval
from representation.readout.dense.cache_plan import plan_cache
from representation.readout.dense.checks import check_apart, check_labels, check_sizes
from representation.readout.dense.estimate import seconds_of_step, seconds_to_encode
from representation.readout.dense.examples import (
    Example,
    Parts,
    digest,
    held_out,
    label_share,
    select,
    shuffled,
)
from representation.readout.dense.feature_cache import Features
from representation.readout.dense.heads import Heads
from representation.readout.dense.images import resized_size
from representation.readout.dense.inference import Reader, evaluate
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.sources import size_of
from representation.readout.dense.target import Target
from representation.readout.dense.training import steps, train_heads
from representation.readout.opening import open_encoder
from representation.readout.task import Outcome, Readout
from selfflow.runs.devices import pick_device
from selfflow.runs.progress import format_duration
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
        check_labels(self.train, self.target, "learn from")
        check_labels(self.test, self.target, "test on")
        self.network = self._encoder()
        self.size = seen_size(self.train[0], settings.parts.short_side)
        images = len(self.train) + len(self.test)
        self.cache = plan_cache(settings, self.network, self.size, images)
        self.features = Features(self.network, settings.parts.short_side, self.cache.folder)

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
        share = settings.parts.label_share
        some = f" ({share:g} % of those with labels)" if share < 100 else ""
        what = "fine-tuned" if training.finetune else "frozen"
        rates = ", ".join(f"{rate:g}" for rate in training.learning_rates)
        return [
            f"{settings.encoder}: {self.network.architecture} at stride {self.network.stride}, "
            f"{what}, on {self.device}; head: {settings.head.kind}",
            f"{self.folder}: {counted(len(self.train), 'image')} to learn from{some}, "
            f"{len(self.test)} to test on",
            self.cache.line,
            f"{counted(steps(settings, len(self.train)), 'step')}, batch {training.batch_size}, "
            f"learning rate{'s' * (len(training.learning_rates) > 1)} {rates}",
            self._duration(),
        ]

    def encoder(self) -> Mapping[str, Any]:
        """Return what a result says of the encoder."""
        return description(self.settings.encoder, self.network)

    def run(self, run: Run) -> Outcome:
        """Choose the learning rate if there are several, train the head and measure it."""
        self.cache.make_room(self.network)
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

    def _duration(self) -> str:
        """Return how long it will take, by one image and one step of each training."""
        settings, kept = self.settings, self.cache.folder is not None
        rates = settings.training.learning_rates
        images = [*self.train, *self.test]
        known = sum(self.features.path(each.image).is_file() for each in images) if kept else 0
        encode = seconds_to_encode(self.network, self.size)
        new = len(images) - known if kept else len(self.test)
        seconds = new * encode
        for tried in ([rates] if len(rates) > 1 else []) + [rates[:1]]:
            step = seconds_of_step(
                self.network, self.target, settings, self._step_size(), tried, kept=kept
            )
            seconds += step * settings.loop.accumulate * steps(settings, len(self.train))
        found = f", {known} of {len(images)} are there already" if known else ""
        return (
            f"about {format_duration(seconds)}: features of an image in {encode:.2g} s{found}; "
            f"a step of the last training in {step:.2g} s"
        )

    def _step_size(self) -> tuple[int, int]:
        """Return the (height, width) of the images of a step."""
        own = self.settings.augmentation
        return self.size if own.height is None else (own.height, own.width)

    def _encoder(self) -> Encoder:
        settings = self.settings
        encoder = open_encoder(settings, self.device)
        wanted = settings.output_stride
        if settings.stride or wanted in (None, encoder.stride) or encoder.decoder is not None:
            return encoder
        return open_encoder(settings, self.device, wanted)

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


def seen_size(example: Example, short_side: int | None) -> tuple[int, int]:
    """Return the (height, width) at which an example's image is seen."""
    size = size_of(example.image)
    return size if short_side is None else resized_size(size, short_side)


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
