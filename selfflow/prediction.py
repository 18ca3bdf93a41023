"""A model's flow on a video, written to files: streaming, atomic, continued where it stopped."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from selfflow.colors import flow_to_color
from selfflow.io import (
    Bytes,
    Float,
    read_flo,
    read_kitti_png,
    write_flo,
    write_image,
    write_kitti_png,
)
from selfflow.labelled import flow_tensor, image_tensor
from selfflow.models import FlowModel
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.runs.run import atomic_write, to_json, write_text
from selfflow.sequences import ImageSequence, Sequence
from selfflow.video import Target

Writer = Callable[[Path, Float], None]
Reader = Callable[[Path], Float]


def write_npy(path: Path, flow: Float) -> None:
    """Write flow `(H, W, 2)` as a float32 `.npy` file."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, flow.astype(np.float32))


def read_npy(path: Path) -> Float:
    """Return the flow `(H, W, 2)` of a `.npy` file."""
    try:
        flow: Float = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error})") from None
    return flow


# Suffix, writer and reader of each format.
FORMATS: dict[str, tuple[str, Writer, Reader]] = {
    "flo": (".flo", write_flo, read_flo),
    "kitti": (".png", write_kitti_png, lambda path: read_kitti_png(path)[0]),
    "npy": (".npy", write_npy, read_npy),
}


@dataclass(frozen=True)
class Prediction:
    """What is predicted, and how; written beside the results, which it must match.

    Attributes:
        model: its name.
        input: the video.
        format: "flo", "kitti" or "npy".
        iterations: of the network.
    """

    model: str
    input: str
    format: str
    iterations: int


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        out: the folder.
        written: flow files of this session.
        kept: flow files that were there already.
        videos: films of frames beside their flow in colour.
    """

    out: str
    written: int
    kept: int
    videos: list[str]


def predict(
    model: FlowModel,
    target: Target,
    out: Path,
    prediction: Prediction,
    *,
    visualize: bool = False,
    device: torch.device | str = "cpu",
) -> Summary:
    """Write the flow between all neighbours of a video's frames.

    Flow from a frame is named after it: `out/FRAME.flo`, or `out/SEQUENCE/FRAME.flo` if there are
    several sequences. Files that are there are kept, so that a stopped prediction goes on. With
    `visualize`, colour pictures go to `color/FRAME.png` beside them, and `flow.mp4` shows frames
    and colours side by side. No more than two frames are in memory at a time.

    Raises:
        UserError: `out` holds the flow of another model or input, or cannot be written; frames
            cannot be read.
    """
    _claim(out, prediction)
    suffix, write, read = FORMATS[prediction.format]
    several = len(target.sequences) > 1
    written = kept = 0
    videos = []
    for sequence in target.sequences:
        folder = out / sequence.name if several else out
        paths = [folder / f"{name}{suffix}" for name in frame_names(sequence)[:-1]]
        missing = [index for index, path in enumerate(paths) if not path.exists()]
        kept += len(paths) - len(missing)
        for index, flow in _flows(model, sequence, missing, prediction.iterations, device):
            write(paths[index], flow)
            written += 1
        if visualize:
            videos.append(str(_visualize(sequence, folder, paths, read)))
    return Summary(str(out), written, kept, videos)


def frame_names(sequence: Sequence) -> list[str]:
    """Return what each frame is called: its file's name without suffix, or its number."""
    if isinstance(sequence, ImageSequence):
        return [path.stem for path in sequence.paths]
    return [f"frame_{index:06d}" for index in range(len(sequence))]


@torch.no_grad()
def _flows(
    model: FlowModel,
    sequence: Sequence,
    indices: list[int],
    iterations: int,
    device: torch.device | str,
) -> Iterator[tuple[int, Float]]:
    """Yield the flow `(H, W, 2)` from each of the frames to the next; each frame is read once."""
    last: tuple[int, Bytes] | None = None
    for index in track(indices, f"Flow of {sequence.name}"):
        frame = last[1] if last is not None and last[0] == index else sequence.frame(index)
        last = (index + 1, sequence.frame(index + 1))
        image1, image2 = (image_tensor(image).to(device) for image in (frame, last[1]))
        flow = model(image1, image2, iterations)
        yield index, flow[0].permute(1, 2, 0).float().cpu().numpy()


def _visualize(sequence: Sequence, folder: Path, paths: list[Path], read: Reader) -> Path:
    """Write colour pictures and the film, with one scale of colours for the whole sequence."""
    # The longest vectors are often errors; a percentile keeps them from paling all others.
    longest = 0.0
    for path in paths:
        length = np.hypot(*np.moveaxis(read(path), -1, 0))
        longest = max(longest, float(np.percentile(length, 99)))
    video = folder / "flow.mp4"
    with atomic_write(video) as temporary, _film(temporary, sequence) as show:
        for index, path in enumerate(track(paths, f"Colours of {sequence.name}")):
            color = flow_to_color(flow_tensor(read(path)), max(longest, 1e-3))
            picture = (color[0].permute(1, 2, 0) * 255).round().byte().numpy()
            write_image(folder / "color" / f"{path.stem}.png", picture)
            show(np.concatenate((sequence.frame(index), picture), 1))
    return video


@contextmanager
def _film(path: Path, sequence: Sequence) -> Iterator[Callable[[Bytes], None]]:
    """Give a function that appends a picture to an mp4 film at the sequence's rate, else 10 / s."""
    writer = cv2.VideoWriter()

    def show(picture: Bytes) -> None:
        # The codec wants even sides.
        height, width = picture.shape[:2]
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not writer.isOpened():
            size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            if not writer.open(str(path), codec, sequence.frame_rate or 10.0, size):
                raise UserError(f"{path}: this OpenCV cannot write mp4 films")
        writer.write(np.ascontiguousarray(picture[..., ::-1]))

    try:
        yield show
    finally:
        writer.release()


def _claim(out: Path, prediction: Prediction) -> None:
    """Note what the folder is for, or check that it is for the same."""
    note = out / "prediction.json"
    if note.exists():
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {note}: {error}") from error
        for key, value in asdict(prediction).items():
            if known.get(key) != value:
                raise UserError(
                    f"{out} holds a prediction with {key} {known.get(key)}, not {value}; "
                    "choose another --out"
                )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and holds no prediction; choose another --out")
    else:
        write_text(note, to_json(asdict(prediction)) + "\n")
