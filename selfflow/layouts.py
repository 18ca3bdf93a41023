"""How datasets lie on disk: from a folder to its sequences, with labels where there are any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfflow.labelled_layouts import (
    Parts,
    autoflow,
    chairs,
    chairs2,
    first,
    folders,
    hd1k,
    kitti,
    middlebury,
    sintel,
    spring,
    things,
)
from selfflow.sequences import Sequence, image_sequences
from selfflow.videofile import VideoFile, video_files


@dataclass(frozen=True)
class Layout:
    """A dataset's layout.

    Attributes:
        marks: patterns; a folder in which one of them is found has this layout.
        read: returns the parts of the dataset, each a list of sequences.
        target: the parts that a target consists of; empty means all.
        training: the parts whose labels are learned from; empty means all.
        evaluation: the parts that are evaluated on; empty means all.
    """

    marks: tuple[str, ...]
    read: Callable[[Path], Parts]
    target: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()

    def matches(self, folder: Path) -> bool:
        """Return whether `folder` has this layout."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks)


def _named(parent: Path, frame_rate: float | None, prefix: str = "") -> list[Sequence]:
    """Return the sequences of a folder of folders of frames."""
    return [
        sequence
        for folder in folders(parent)
        for sequence in image_sequences(folder, prefix + folder.name, frame_rate=frame_rate)
    ]


def _davis(root: Path) -> Parts:
    """`JPEGImages/480p/SEQUENCE/NNNNN.jpg`."""
    return {"": _named(first(root / "JPEGImages", "480p", "1080p", "Full-Resolution"), 24.0)}


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


_KITTI_DRIVES = ("20??_??_??_drive_????*", "20??_??_??/20??_??_??_drive_????*")


def _kitti_raw(root: Path) -> Parts:
    """`DATE/DATE_drive_NNNN_sync/image_02/data/NNNNNNNNNN.png`: the left colour camera."""
    found: list[Sequence] = []
    for mark in _KITTI_DRIVES:
        for drive in sorted(path for path in root.glob(mark) if path.is_dir()):
            camera = drive / "image_02" / "data"
            folder = camera if camera.is_dir() else drive
            found += image_sequences(folder, drive.name, frame_rate=10.0)
    return {"": found}


LAYOUTS: Mapping[str, Layout] = {
    "sintel": Layout(("training/final", "training/clean"), sintel, target=("final",)),
    "kitti": Layout(("training/image_2",), kitti),
    "kitti2012": Layout(("training/colored_0", "training/image_0"), kitti),
    "middlebury": Layout(("other-data", "other-color-*frames"), middlebury),
    "chairs": Layout(("data/*_flow.flo",), chairs, training=("train",), evaluation=("val",)),
    "chairs2": Layout(
        ("train/*-flow_01.flo", "val/*-flow_01.flo"),
        chairs2,
        training=("train",),
        evaluation=("val",),
    ),
    "things": Layout(
        ("frames_cleanpass", "frames_finalpass"),
        things,
        target=("final",),
        training=("clean", "clean-past", "final", "final-past"),
        evaluation=("test-clean", "test-final"),
    ),
    "hd1k": Layout(("hd1k_input",), hd1k),
    "spring": Layout(
        ("train/*/frame_left", "train/*/frame_right"),
        spring,
        target=("left",),
        evaluation=("left",),
    ),
    "autoflow": Layout(("table_*_batch_*/forward.flo", "*/table_*_batch_*/forward.flo"), autoflow),
    "davis": Layout(("JPEGImages/480p", "JPEGImages/1080p", "JPEGImages/Full-Resolution"), _davis),
    "camvid": Layout(("trainannot", "valannot", "train/0001TP_*"), _camvid),
    "cityscapes": Layout(("leftImg8bit_sequence/train",), _cityscapes),
    "kitti_raw": Layout(_KITTI_DRIVES, _kitti_raw),
    "bdd100k": Layout(("videos/train", "images/track/train"), _bdd100k),
}
