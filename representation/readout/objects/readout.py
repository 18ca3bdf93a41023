"""What detection and instances have in common: train a detector on an encoder, and test it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from representation.known_encoders import description
from representation.readout.objects.coco_format import Wanted
from representation.readout.objects.detectors import Detector, encoder_stride, new_detector
from representation.readout.objects.example import check_objects, counts
from representation.readout.objects.finding import Found, find
from representation.readout.objects.layouts import Request, read_objects
from representation.readout.objects.pictures import write_pictures
from representation.readout.objects.scores import evaluate, results, truth
from representation.readout.objects.settings import ObjectSettings
from representation.readout.objects.subset import label_share
from representation.readout.objects.training import (
    DetectorTask,
    learning_rate,
    loop_settings,
    measure_norm,
    new_optimizer,
    torch_seed,
)
from representation.readout.objects.usual import usual_boxes
from representation.readout.objects.views import ObjectBatches, permuted
from representation.readout.objects.voc_scores import voc_scores
from representation.readout.opening import open_encoder
from representation.readout.task import Outcome, Readout
from selfflow.runs.cost import peak_memory, seconds_of
from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result, fit
from selfflow.runs.progress import format_duration
from selfflow.runs.run import Run
from selfflow.runs.wording import counted

KINDS: Mapping[Wanted, Mapping[str, str]] = {
    "boxes": {"bbox": ""},
    "masks": {"segm": "mask_", "bbox": "box_"},
    "keypoints": {"keypoints": "keypoint_", "bbox": "box_"},
}
"""What is compared, as COCO calls it, and what the scores' names begin with; the first counts."""


class ObjectReadout(Readout):
    """Train a detector on an encoder's features, find the objects of other images, score them."""

    Settings: ClassVar = ObjectSettings
    default_protocol = "default"

    def __init__(self, settings: ObjectSettings, data_root: Path | None) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.wanted = self.what(settings)
        request = Request(settings.train, settings.test, self.wanted, settings.classes)
        data, self.folder = read_objects(settings.data, request, data_root)
        chosen = label_share(data.train, settings.label_share, settings.subset_seed)
        chosen = chosen[: settings.images]
        if settings.permuted:
            if self.wanted != "boxes":
                raise UserError("permuted is for boxes alone")
            chosen = permuted(chosen, settings.seed)
        self.data = check_objects(replace(data, train=chosen), str(self.folder))
        stride: Any = encoder_stride(settings.detector, settings.stride)
        network = open_encoder(settings, self.device, stride)
        # Now, because its weights are about to be trained.
        self._encoder = description(settings.encoder, network)
        points = len(self.data.keypoints.names) if self.data.keypoints else 0
        with torch_seed(settings.seed, self.device):
            self.detector = new_detector(
                network, settings.detector, len(self.data.classes), self.wanted, points
            ).to(self.device)
        self.loop = loop_settings(settings, len(self.data.train))

    @staticmethod
    def what(settings: ObjectSettings) -> Wanted:
        """Return what is looked for."""
        return "boxes"

    def describe(self) -> list[str]:
        """Return lines for a person: what is used, and the time and memory that it will take."""
        settings, data, about = self.settings, counts(self.data), self._encoder
        own = settings.detector
        state = "frozen" if own.frozen else f"trained, its norm {own.norm}"
        lines = [
            f"{settings.encoder}: {about['architecture']} at stride {about['stride']}, {state}, "
            f"under {own.kind}, on {self.device}",
            f"{self.folder}: classes: {len(data['classes'])}; "
            f"{counted(data['train'], 'image')} with {data['train_objects']} objects to learn "
            f"from, {data['test']} with {data['test_objects']} to test on",
        ]
        if data["dropped_boxes"]:
            left = ", ".join(f"{count} {why}" for why, count in data["dropped_boxes"].items())
            lines.append(f"boxes left out: {left}")
        if missing := data["classes_without_training"]:
            lines.append(f"classes without an object to learn from: {len(missing)}")
        if getattr(self.detector.network.backbone, "from_decoder", False):
            lines.append("the pyramid starts from the encoder's decoder")
        return [*lines, self.loop.describe(settings.batch_size), self._estimate()]

    def encoder(self) -> Mapping[str, Any]:
        """Return what a result says of the encoder, as it was before the training."""
        return self._encoder

    def run(self, run: Run) -> Outcome:
        """Train, or go on where `run` was stopped; test, and write what was found."""
        result = self.train(run)
        found = find(self.detector, self.data.test, self.settings, self.device)
        run.write_json("detections.json", results(found))
        run.write_json("truth.json", self._truth)
        shown = self.data.test[: self.settings.pictures]
        write_pictures(run.path / "pictures", shown, found[: len(shown)], self.data.classes)
        return self._outcome(found, result)

    @cached_property
    def batches(self) -> ObjectBatches:
        """The training's batches."""
        data = self.data
        return ObjectBatches(data.train, self.settings, self.wanted, data.keypoints, self.device)

    @cached_property
    def _truth(self) -> dict[str, Any]:
        return truth(self.data.test, self.data.classes, self.data.keypoints)

    def train(self, run: Run) -> Result:
        """Train the detector, or go on where `run` was stopped."""
        settings = self.settings
        self.detector.train()
        result = fit(
            DetectorTask(self.detector, settings.seed),
            self.batches,
            optimizer=new_optimizer(settings.schedule, self.detector),
            learning_rate=lambda step: learning_rate(settings.schedule, step, self.loop.steps),
            settings=self.loop,
            run=run,
            title="Training",
        )
        if settings.precise_norm:
            measure_norm(self.detector, self.batches, range(settings.precise_norm), settings.seed)
        return result

    def _outcome(self, found: Sequence[Found], result: Result) -> Outcome:
        scores: dict[str, float] = {}
        by_class: dict[str, Any] = {}
        points = self.data.keypoints
        listed = results(found)
        for kind, prefix in KINDS[self.wanted].items():
            deviations = points.deviations if points and kind == "keypoints" else None
            numbers, classes = evaluate(self._truth, listed, kind, deviations)
            scores |= {prefix + name: value for name, value in numbers.items()}
            by_class[f"{prefix}AP"] = classes
        if self.data.voc:
            scores |= voc_scores(self.data.test, found, len(self.data.classes))
        usual = usual_boxes(self.data.train, self.data.test, len(self.data.classes))
        return Outcome(
            scores=scores,
            data={"folder": self.folder.name, **counts(self.data)},
            details={
                "by_class": by_class,
                "detections": len(listed),
                "usual_boxes": evaluate(self._truth, results(usual), "bbox")[0],
                "steps": result.steps,
                "training_seconds": round(result.seconds, 1),
                "skipped_steps": result.skipped,
                "losses": result.means,
            },
        )

    def _estimate(self) -> str:
        """Return a line: the time of training and testing, measured on a copy, and the memory."""
        detector = copy.deepcopy(self.detector)
        step, make = self._seconds_of_step(detector)
        with torch.random.fork_rng(devices=[]):
            test = seconds_of(
                partial(find, detector, self.data.test[:1], self.settings, self.device), self.device
            )
        steps = self.loop.steps * self.loop.accumulate
        seconds = steps * (step + (0 if self.loop.prefetch else make)) + test * len(self.data.test)
        return (
            f"about {format_duration(seconds)}: {step:.2g} s a step, {make:.2g} s for a batch, "
            f"{test:.2g} s to test an image; {peak_memory(self.device) / 2**30:.1f} GiB of memory"
        )

    def _seconds_of_step(self, detector: Detector) -> tuple[float, float]:
        """Return the seconds of a step, the better of two, and those to make a batch."""
        task = DetectorTask(detector.train(), self.settings.seed)
        optimizer = new_optimizer(self.settings.schedule, detector)
        batch = self.batches(0)
        make = seconds_of(partial(self.batches, 0), self.device)

        def step() -> None:
            optimizer.zero_grad()
            task.step(batch, 0)["loss"].backward()
            optimizer.step()

        for group in optimizer.param_groups:
            group["lr"] = 0.0  # a copy that diverges would take another time
        return min(seconds_of(step, self.device) for _ in range(2)), make
