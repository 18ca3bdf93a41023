"""Keypoints carried along by flow, and how many arrive where they should (PCK).

Self-supervised AutoFlow (Huang et al., CVPR 2023) measures flow on DAVIS so, with the joints of
BADJA (Biggs et al., ACCV 2018): a joint is correct if it is nearer to the true one than 0.2 times
the square root of the segmentation's area. Whether joints are carried from each annotated frame to
the next or from the first one to all others is not stated there; both are measured here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich import box
from rich.table import Table
from torch import Tensor

from selfflow.badja import Joints, JointVideo
from selfflow.flow import sample
from selfflow.frames import FrameCache
from selfflow.models import FlowModel
from selfflow.objective import evaluating
from selfflow.runs.progress import track
from selfflow.video import Target
from selfflow.warm_start import FlowInTurn

RATIO = 0.2
STARTS = ("next", "first")
DEFINITIONS = {
    "pck": "per cent of joints nearer to the true position than 0.2 times the square root of the "
    "area of the animal's segmentation, of those visible where they start and where they end",
    "next": "joints are carried from each annotated frame to the next",
    "first": "joints are carried from the first annotated frame to all others",
    "pooled": "mean over all joints of all videos",
    "per_video": "mean over videos of each video's mean",
}
PUBLISHED = {
    "S-AF": 51.9,
    "supervised AutoFlow": 50.4,
    "source": "self-supervised AutoFlow's project page; protocol and average not stated",
}


@dataclass
class Score:
    """How many joints arrived, by where they started."""

    correct: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STARTS, 0))
    total: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STARTS, 0))

    def pck(self, start: str) -> float:
        """Return the share of correct joints in per cent, NaN where there is none."""
        return 100 * self.correct[start] / self.total[start] if self.total[start] else float("nan")


@dataclass(frozen=True)
class KeypointEvaluation:
    """A model's PCK on videos.

    Attributes:
        model: its name.
        data: the data set's.
        iterations: of the network.
        short_side: to which frames were resized.
        scores: by video.
        skipped: why other videos were left out, by name.
    """

    model: str
    data: str
    iterations: int
    short_side: int
    scores: dict[str, Score]
    skipped: dict[str, str]

    def pooled(self, start: str) -> float:
        """Return the PCK over all joints."""
        total = Score()
        for score in self.scores.values():
            total.correct[start] += score.correct[start]
            total.total[start] += score.total[start]
        return total.pck(start)

    def per_video(self, start: str) -> float:
        """Return the mean over videos of their PCK; videos without a joint are left out."""
        return float(np.nanmean([score.pck(start) for score in self.scores.values()]))

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, with what the values and averages mean."""
        results = {
            start: {
                "pooled": self.pooled(start),
                "per_video": self.per_video(start),
                "each": {name: score.pck(start) for name, score in self.scores.items()},
                "joints": sum(score.total[start] for score in self.scores.values()),
            }
            for start in STARTS
        }
        return {
            "model": self.model,
            "data": self.data,
            "iterations": self.iterations,
            "short_side": self.short_side,
            "results": results,
            "skipped": self.skipped,
            "published": PUBLISHED,
            "definitions": DEFINITIONS,
        }

    def tables(self) -> list[Table]:
        """Return one table, a row for each video."""
        figures = {name: value for name, value in PUBLISHED.items() if name != "source"}
        published = ", ".join(f"{name} {value}" for name, value in figures.items())
        left_out = f" Left out: {', '.join(self.skipped)}." if self.skipped else ""
        table = Table(
            title=f"{self.model} on {self.data}: PCK@{RATIO}, frames of {self.short_side} px on "
            "the short side",
            caption="next: from each annotated frame to the next; first: from the first one to all "
            f"others.{left_out}\nPublished: {published} ({PUBLISHED['source']}).",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            min_width=90,
        )
        table.add_column("video", no_wrap=True)
        for name in ("joints", *STARTS):
            table.add_column(name, justify="right", no_wrap=True, min_width=7)
        for name, score in self.scores.items():
            shares = (f"{score.pck(start):.1f}" for start in STARTS)
            table.add_row(name, str(score.total["next"]), *shares)
        table.add_section()
        for title, mean in (
            ("pooled over joints", self.pooled),
            ("mean over videos", self.per_video),
        ):
            table.add_row(title, "", *(f"{mean(start):.1f}" for start in STARTS))
        return [table]


def carry(points: Tensor, flow: Tensor) -> Tensor:
    """Return where flow `(1, 2, H, W)` leads points `(N, 2)`, x then y, in pixels.

    A point outside the frame moves on as the nearest point of its border does.
    """
    height, width = flow.shape[-2:]
    border = points.new_tensor((width - 1, height - 1))
    inside = points.clamp(min=0).minimum(border)
    return points + sample(flow, inside.T[None, :, None])[0, :, 0].T


def correct(points: Tensor, true: Tensor, area: float) -> Tensor:
    """Return which points `(N, 2)` are near enough to `true`, `(N,)` bool; `area` in pixels."""
    return (points - true).square().sum(1).sqrt() < RATIO * area**0.5


@torch.no_grad()
def evaluate_keypoints(
    model: FlowModel,
    videos: Sequence[JointVideo],
    *,
    iterations: int = 24,
    warm_start: bool = False,
    short_side: int = 480,
    device: torch.device | str = "cpu",
    name: str = "model",
    data: str = "badja",
    skipped: dict[str, str] | None = None,
) -> KeypointEvaluation:
    """Return a model's PCK on videos with annotated joints; two frames are in memory at a time.

    Args:
        model: on `device`.
        videos: see `selfflow.badja.joint_videos`.
        iterations: of the network.
        warm_start: begin at the flow of the pair before, see `selfflow.warm_start`.
        short_side: to which frames are resized; they are never enlarged.
        device: where the model is.
        name: the model's, for the result.
        data: the data set's, for the result.
        skipped: videos that were left out before, for the result.
    """
    scores = {}
    flow_of = FlowInTurn(model, iterations, warm_start=warm_start, name=name)
    with evaluating(model):
        for video in videos:
            scores[video.frames.name] = _score(flow_of, video, short_side, device)
    return KeypointEvaluation(name, data, iterations, short_side, scores, skipped or {})


def _score(
    flow_of: FlowInTurn, video: JointVideo, short_side: int, device: torch.device | str
) -> Score:
    cache = FrameCache(Target(video.frames.name, (video.frames,)), short_side, bytes_limit=0)
    score = Score()
    size = cache.frame(video.frames.name, 0).shape[-2:]
    carried: dict[str, tuple[Tensor, Tensor]] = {}
    image = _image(cache, 0, device)
    for index in track(range(len(video.frames)), f"Joints of {video.frames.name}"):
        if index:
            before, image = image, _image(cache, index, device)
            flow = flow_of(before, image).double()
            carried = {start: (carry(at, flow), seen) for start, (at, seen) in carried.items()}
        if index in video.joints:
            joints = video.joints[index]
            true, seen = _pixels(joints, size, device)
            for start, (points, was_seen) in carried.items():
                both = was_seen & seen
                arrived = correct(points, true, joints.area * size[0] * size[1]) & both
                score.correct[start] += int(arrived.sum())
                score.total[start] += int(both.sum())
            carried = {"next": (true, seen), "first": carried.get("first", (true, seen))}
    return score


def _image(cache: FrameCache, index: int, device: torch.device | str) -> Tensor:
    frame = cache.frame(cache.target.sequences[0].name, index)
    return frame[None].to(device).float() / 255


def _pixels(
    joints: Joints, size: tuple[int, ...], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return the joints' positions `(N, 2)` in pixels of a frame, and which are visible."""
    positions = torch.from_numpy(joints.positions).to(device)
    scale = positions.new_tensor((size[1], size[0]))
    return positions * scale - 0.5, torch.from_numpy(joints.visible).to(device)
