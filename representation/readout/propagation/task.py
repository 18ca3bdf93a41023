"""Masks of a video's objects, propagated from its first frame (DAVIS-2016 and DAVIS-2017).

Nothing is learned: a cell takes the labels of its nearest neighbours in feature space, in frames
that have some already. `RUN/masks` holds the propagated masks, `SEQUENCE/NNNNN.png`, as the
official evaluation reads results; `RUN/pictures` a sheet for each sequence, `RUN/sequences` its
scores by frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch

from representation.known_encoders import description, fingerprint
from representation.readout.opening import open_encoder
from representation.readout.places import find_place
from representation.readout.propagation.clip import Memory, matching_seconds, propagate_clip
from representation.readout.propagation.davis import LAYOUTS, MaskedClip, choose_clips
from representation.readout.propagation.frame_features import FrameFeatures
from representation.readout.propagation.neighbours import Matching
from representation.readout.propagation.sequence import Truth, averages, evaluate
from representation.readout.propagation.settings import PROTOCOLS, QUICK, PropagationSettings
from representation.readout.task import Outcome, Readout
from selfflow.io import Bytes, image_size
from selfflow.runs.cost import seconds_of
from selfflow.runs.devices import pick_device
from selfflow.runs.progress import format_duration, progress
from selfflow.runs.run import Run, read_table
from selfflow.runs.wording import counted
from selfflow.sequences import ImageSequence


class Propagation(Readout):
    """Follow the masks of a video's first frame by nearest neighbours in feature space."""

    Settings = PropagationSettings
    default_protocol = "crw"
    protocols: ClassVar = PROTOCOLS
    quick: ClassVar = QUICK

    def __init__(self, settings: PropagationSettings, data_root: Any) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.folder = find_place(settings.data, LAYOUTS, data_root)[1]
        self.choice = choose_clips(
            self.folder,
            year=settings.year,
            subset=settings.subset,
            resolution=settings.resolution,
            names=settings.sequences,
        )
        self.clips = [
            clip.shortened(settings.frame_limit)
            for clip in self.choice.clips[: settings.sequence_limit]
        ]
        merged = self.choice.year == 2016
        self.truths = {clip.name: Truth(clip, merged=merged) for clip in self.clips}
        self.network = open_encoder(settings, self.device)
        self.features = FrameFeatures(
            self.network,
            side=settings.side,
            fit=settings.fit,
            multiple=settings.multiple,
            antialias=settings.antialias,
            without_last_stage=settings.without_last_stage,
            normalised=settings.normalised,
            aligned=settings.aligned,
        )

        self.matching = Matching(
            settings.neighbours,
            settings.temperature,
            settings.selection,
            settings.radius,
            settings.window,
        )
        self.memory = Memory(
            settings.previous,
            settings.padded,
            settings.first_windowed,
            settings.reading,
            settings.rescaling,
            settings.decision,
        )

    def describe(self) -> list[str]:
        """Return lines for a person."""
        clips, features = self.clips, self.features
        frames = sum(len(clip.frames) for clip in clips)
        objects = sum(len(truth.objects) for truth in self.truths.values())
        names = ", ".join(clip.name for clip in clips[:5]) + (", ..." if len(clips) > 5 else "")
        height, width = features.cells(image_size(clips[0].frames[0])).shape
        bytes_kept = (self.settings.previous + 1) * height * width * features.channels * 4
        seconds = self._seconds_a_frame()
        stage = "" if features.stage is None else ", its last stage left out"
        return [
            f"{self.settings.encoder}: {self.network.architecture}, {features.channels} channels "
            f"at stride {features.stride}{stage}, on {self.device}",
            f"{self.folder}: {counted(len(clips), 'sequence')} ({names}), {self.choice.source}; "
            f"{counted(frames, 'frame')}, {counted(objects, 'object')}",
            f"about {format_duration(frames * seconds)}: {seconds:.2g} s a frame, "
            f"{height}x{width} cells of it; features take {bytes_kept / 2**20:.0f} MB",
        ]

    def encoder(self) -> Mapping[str, Any]:
        """Return what a result says of the encoder."""
        return description(self.settings.encoder, self.network)

    def run(self, run: Run) -> Outcome:
        """Return J and F over all objects; sequences that the run's folder holds are kept."""
        weights = fingerprint(self.network)
        done: dict[str, Any] = {}
        frames = sum(len(clip.frames) - 1 for clip in self.clips)
        with progress("Propagation", frames) as bar:
            for clip in self.clips:
                name = f"sequences/{clip.name}.json"
                known = read_table(run.path / name) if (run.path / name).is_file() else {}
                if known.get("weights") != weights:
                    masks = self._masks(clip, bar.advance)
                    truth, folder = self.truths[clip.name], run.path / "masks" / clip.name
                    picture = run.path / "pictures" / f"{clip.name}.png"
                    known = evaluate(clip, truth, masks, folder, picture)
                    run.write_json(name, {"weights": weights, **known})
                else:
                    bar.advance(len(clip.frames) - 1)
                done[clip.name] = known
        return Outcome(scores=averages(done), data=self._data(), details=self._details(done))

    def _masks(self, clip: MaskedClip, advance: Any) -> Iterator[Bytes]:
        """Yield the masks of the frames after the first one."""
        frames = ImageSequence(clip.name, clip.frames)
        masks = propagate_clip(
            lambda index: self.features(frames, index),
            len(frames),
            torch.from_numpy(self.truths[clip.name].first).to(self.device),
            self.features.cells(frames.size),
            self.matching,
            self.memory,
        )
        for mask in masks:
            advance()
            yield mask.cpu().numpy()

    def _seconds_a_frame(self) -> float:
        """Return about how long a frame takes, measured on the first one."""
        clip = self.clips[0]
        frames = ImageSequence(clip.name, clip.frames)
        features = self.features(frames, 0)
        seeing = seconds_of(lambda: self.features(frames, 0), self.device)
        return seeing + matching_seconds(features, self.matching, self.memory)

    def _data(self) -> dict[str, Any]:
        year = self.choice.year
        return {
            "name": f"davis{year}" if year else "davis",
            "folder": self.folder.name,
            "sequences_from": self.choice.source,
            "sequences": [clip.name for clip in self.clips],
            "objects": sum(len(truth.objects) for truth in self.truths.values()),
            "frames": sum(len(clip.frames) for clip in self.clips),
        }

    def _details(self, done: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "features": {"channels": self.features.channels, "stride": self.features.stride},
            "identity": averages(done, "identity"),
            "sequences": {name: each["objects"] for name, each in done.items()},
        }
