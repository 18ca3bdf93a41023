"""How datasets lie on disk: from a folder to its sequences, with labels where there are any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selfflow.labelled import flo_label, kitti_label, sintel_label
from selfflow.runs.errors import UserError
from selfflow.sequences import (
    ImageSequence,
    Sequence,
    frame_runs,
    image_sequences,
    named_runs,
)
from selfflow.videofile import VideoFile, video_files

Parts = Mapping[str, list[Sequence]]


@dataclass(frozen=True)
class Layout:
    """A dataset's layout.

    Attributes:
        marks: patterns; a folder in which one of them is found has this layout.
        read: returns the parts of the dataset, each a list of sequences.
        target: the parts that a target consists of; empty means all.
        evaluation: the parts that are evaluated on; empty means all.
    """

    marks: tuple[str, ...]
    read: Callable[[Path], Parts]
    target: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()

    def matches(self, folder: Path) -> bool:
        """Return whether `folder` has this layout."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _first(root: Path, *names: str) -> Path:
    """Return the first of several sub-folders that exists."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _sintel(root: Path) -> Parts:
    """`training/PASS/SCENE/frame_NNNN.png`, with `flow`, `occlusions` and `invalid` beside."""

    def scene(folder: Path) -> list[Sequence]:
        sequences: list[Sequence] = []
        for name, run in named_runs(folder, folder.name):
            labels = {}
            for index, path in enumerate(run[:-1]):
                place = Path(folder.name) / path.name
                flow = (training / "flow" / place).with_suffix(".flo")
                if flow.is_file():
                    masks = (training / "occlusions" / place, training / "invalid" / place)
                    labels[index] = partial(sintel_label, flow, *masks)
            sequences.append(ImageSequence(name, run, labels, frame_rate=24.0))
        return sequences

    training = root / "training"
    return {
        part: [sequence for folder in _folders(training / part) for sequence in scene(folder)]
        for part in ("clean", "final")
    }


def _kitti(root: Path) -> Parts:
    """`training/image_2/NNNNNN_10.png, _11.png` (2012: `colored_0`), `flow_occ`, `flow_noc`.

    2015 adds `obj_map`, which marks what moves by itself.
    The multi-view extension (frames 00 to 20) makes longer sequences; labels start at frame 10.
    """
    training = root / "training"
    sequences: list[Sequence] = []
    for run in frame_runs(_first(training, "image_2", "colored_0", "image_0")):
        labels = {
            index: partial(
                kitti_label,
                *(training / kind / path.name for kind in ("flow_occ", "flow_noc", "obj_map")),
            )
            for index, path in enumerate(run[:-1])
            if (training / "flow_occ" / path.name).is_file()
        }
        sequences.append(ImageSequence(run[0].stem, run, labels, frame_rate=10.0))
    return {"": sequences}


def _middlebury(root: Path) -> Parts:
    """`other-data/SCENE/frame10.png, frame11.png` and `other-gt-flow/SCENE/flow10.flo`."""
    frames = _first(root, "other-data", "other-color-allframes", "other-color-twoframes")
    sequences: list[Sequence] = []
    for folder in _folders(frames):
        flow = root / "other-gt-flow" / folder.name / "flow10.flo"
        for name, run in named_runs(folder, folder.name):
            labels = {
                index: partial(flo_label, flow)
                for index, path in enumerate(run[:-1])
                if path.stem == "frame10" and flow.is_file()
            }
            sequences.append(ImageSequence(name, run, labels))
    return {"": sequences}


def _chairs(root: Path) -> Parts:
    """`data/NNNNN_img1.ppm, _img2.ppm, _flow.flo`; the split file, where there is one, beside."""
    parts: dict[str, list[Sequence]] = {"train": [], "val": []}
    flows = sorted((root / "data").glob("*_flow.flo"))
    numbers = _chairs_split(root, len(flows))
    for flow, number in zip(flows, numbers, strict=True):
        name = flow.name.removesuffix("_flow.flo")
        frames = [flow.with_name(f"{name}_img{k}.ppm") for k in (1, 2)]
        sequence = ImageSequence(name, frames, {0: partial(flo_label, flow)})
        parts["train" if number == "1" else "val"].append(sequence)
    return parts


def _chairs_split(root: Path, count: int) -> list[str]:
    """Return "1" (training) or "2" (validation) for each pair; without a split file, all "2"."""
    names = ("FlyingChairs_train_val.txt", "../FlyingChairs_train_val.txt")
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        return ["2"] * count
    numbers = path.read_text().split()
    if len(numbers) != count or not set(numbers) <= {"1", "2"}:
        raise UserError(f"{path}: one line of 1 or 2 is needed for each of the {count} pairs")
    return numbers


def _autoflow(root: Path) -> Parts:
    """`table_T_batch_B/im0.png, im1.png, forward.flo`, possibly inside the archives' folders."""
    flows = [*root.glob("table_*_batch_*/forward.flo"), *root.glob("*/table_*_batch_*/forward.flo")]
    return {
        "": [
            ImageSequence(
                flow.parent.relative_to(root).as_posix(),
                [flow.with_name("im0.png"), flow.with_name("im1.png")],
                {0: partial(flo_label, flow)},
            )
            for flow in sorted(flows)
        ]
    }


def _named(parent: Path, frame_rate: float | None, prefix: str = "") -> list[Sequence]:
    """Return the sequences of a folder of folders of frames."""
    return [
        sequence
        for folder in _folders(parent)
        for sequence in image_sequences(folder, prefix + folder.name, frame_rate=frame_rate)
    ]


def _davis(root: Path) -> Parts:
    """`JPEGImages/480p/SEQUENCE/NNNNN.jpg`."""
    return {"": _named(_first(root / "JPEGImages", "480p", "1080p", "Full-Resolution"), 24.0)}


def _camvid(root: Path) -> Parts:
    """`train/NAME.png`, `val/NAME.png`: stills of several recordings in one folder each.

    The training frames come at 1 Hz, so that neighbours are far apart; the validation frames are a
    video at 15 Hz.
    """
    return {
        part: [*image_sequences(root / part, part, frame_rate=rate)]
        for part, rate in (("train", 1.0), ("val", 15.0))
        if (root / part).is_dir()
    }


def _cityscapes(root: Path) -> Parts:
    """`leftImg8bit_sequence/train/CITY/CITY_NNNNNN_NNNNNN_leftImg8bit.png`, 30 frames each."""
    return {"": _named(root / "leftImg8bit_sequence" / "train", 17.0)}


def _bdd100k(root: Path) -> Parts:
    """`videos/train/*.mov`, or the tracking set's frames `images/track/train/SEQUENCE/*.jpg`."""
    videos: list[Sequence] = [VideoFile(path) for path in video_files(root / "videos" / "train")]
    return {"": videos or _named(root / "images" / "track" / "train", 5.0)}


LAYOUTS: Mapping[str, Layout] = {
    "sintel": Layout(("training/final", "training/clean"), _sintel, target=("final",)),
    "kitti": Layout(("training/image_2", "training/colored_0", "training/image_0"), _kitti),
    "middlebury": Layout(("other-data", "other-color-*frames"), _middlebury),
    "chairs": Layout(("data/*_flow.flo",), _chairs, evaluation=("val",)),
    "autoflow": Layout(("table_*_batch_*/forward.flo", "*/table_*_batch_*/forward.flo"), _autoflow),
    "davis": Layout(("JPEGImages/480p", "JPEGImages/1080p", "JPEGImages/Full-Resolution"), _davis),
    "camvid": Layout(("trainannot", "valannot", "train/0001TP_*"), _camvid),
    "cityscapes": Layout(("leftImg8bit_sequence/train",), _cityscapes),
    "bdd100k": Layout(("videos/train", "images/track/train"), _bdd100k),
}
