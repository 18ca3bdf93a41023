"""A model's flow on video of any length, written to files and continued where it stopped.

Two frames are in memory at a time. What is known of each pair of neighbours is a row of
`pairs.csv`, added when all its files are there; shot cuts have a row and no flow.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from selfflow.io import image_size
from selfflow.models import FlowModel
from selfflow.prediction_pairs import Extras, PairWriter
from selfflow.quality import QualitySummary, plot_quality, summarize
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.runs.run import to_json, write_text
from selfflow.sequences import ImageSequence, Sequence
from selfflow.video import Target

__all__ = ["Extras", "Prediction", "Summary", "predict"]


@dataclass(frozen=True)
class Prediction:
    """What is predicted, and how; written beside the results, which it must match.

    Attributes:
        model: its name.
        input: the video.
        format: of the flow files: "flo", "kitti" or "npy", or "none".
        iterations: of the network.
        size: short side to which frames are reduced, or None; flow is in pixels of that size.
    """

    model: str
    input: str
    format: str
    iterations: int
    size: int | None = None


@dataclass
class Summary:
    """What was written.

    Attributes:
        out: the folder.
        written: pairs for which something was made in this session.
        kept: pairs that were done already.
        cuts: pairs of different shots, which have no flow.
        videos: films.
        quality: by sequence; its `worst` names frames.
    """

    out: str
    written: int = 0
    kept: int = 0
    cuts: int = 0
    videos: list[str] = field(default_factory=list)
    quality: dict[str, QualitySummary] = field(default_factory=dict)


def predict(
    model: FlowModel,
    target: Target,
    out: Path,
    prediction: Prediction,
    extras: Extras | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Summary:
    """Write the flow between all neighbours of a video's frames, but across shot cuts.

    Flow from a frame is named after it: `out/FRAME.flo`, or `out/SEQUENCE/FRAME.flo` if there are
    several sequences; pictures are `color/FRAME.png`, masks `visible/FRAME.png`. What is there is
    kept, so that a stopped prediction goes on. Nothing is written before the first pair is done.

    Raises:
        UserError: `out` holds the flow of another model or input, or cannot be written; frames
            cannot be read, or are not what they were when the prediction was begun.
    """
    extras = extras or Extras()
    _check_claim(out, prediction)
    for sequence in target.sequences:
        _check_frames(sequence)
    _remove_unfinished(out)
    summary = Summary(str(out))
    for sequence in target.sequences:
        folder = out / sequence.name if len(target.sequences) > 1 else out
        pairs = PairWriter(
            model,
            sequence,
            folder,
            kind=prediction.format,
            iterations=prediction.iterations,
            size=prediction.size,
            extras=extras,
            device=device,
            before_writing=lambda: _claim(out, prediction),
        )
        for pair in track(pairs.run(), f"Flow of {sequence.name}", len(sequence) - 1):
            summary.cuts += pair.cut
            summary.written += pair.made and not pair.cut
            summary.kept += not (pair.made or pair.cut)
        if extras.film:
            summary.videos.append(str(pairs.write_film()))
        if extras.quality:
            table = folder / "quality.csv"
            found = summarize(table)
            plot_quality(table, folder / "quality.png")
            write_text(folder / "quality.json", to_json(asdict(found)) + "\n")
            summary.quality[sequence.name] = found
    return summary


def _check_frames(sequence: Sequence) -> None:
    """Raise UserError for what can be seen to be wrong with a sequence before its frames are read.

    A video file's length is looked up, which finds most truncated ones; the headers of image files
    are read, which finds those that are none and those of another size.
    """
    if not isinstance(sequence, ImageSequence):
        len(sequence)
        return
    height, width = sequence.size
    for path in sequence.paths:
        size = image_size(path)
        if size != (height, width):
            raise UserError(
                f"{path}: the frame is {size[1]}x{size[0]}, but sequence {sequence.name} began "
                f"with {width}x{height}"
            )


def _check_claim(out: Path, prediction: Prediction) -> None:
    """Raise UserError unless the folder is free, or for the same prediction."""
    note = out / "prediction.json"
    if not note.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists and holds no prediction; choose another --out")
        return
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {note}: {error}") from error
    for key, value in asdict(prediction).items():
        if not isinstance(known, dict) or known.get(key) != value:
            found = known.get(key) if isinstance(known, dict) else "unknown"
            raise UserError(
                f"{out} holds a prediction with {key} {found}, not {value}; choose another --out"
            )


def _remove_unfinished(out: Path) -> None:
    """Remove the files that a kill left unfinished (see `selfflow.runs.run.atomic_write`)."""
    if (out / "prediction.json").exists():
        for path in out.rglob("." + "[0-9a-f]" * 12 + "-*"):
            path.unlink()


def _claim(out: Path, prediction: Prediction) -> None:
    """Note what the folder is for, unless it is noted."""
    note = out / "prediction.json"
    if not note.exists():
        write_text(note, to_json(asdict(prediction)) + "\n")
