"""Targets: the unlabelled video that everything is learned from, by name or from any path."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selfflow.datasets import DATASETS, dataset_sequences, find_dataset
from selfflow.layouts import LAYOUTS
from selfflow.runs.errors import UserError
from selfflow.runs.wording import counted
from selfflow.sample import sample_sequences
from selfflow.sequences import FlowLabel, Sequence, apart_from_labels, image_sequences
from selfflow.videofile import VIDEO_SUFFIXES, VideoFile, video_files

__all__ = ["FlowLabel", "Sequence", "Target", "known_targets", "open_target"]

_NAMES = ("sample", "davis", "sintel", "kitti", "camvid", "cityscapes", "bdd100k")


@dataclass(frozen=True)
class Target:
    """Video: sequences, which may differ in size and length; their names are unique."""

    name: str
    sequences: tuple[Sequence, ...]

    def __post_init__(self) -> None:
        if len(self._by_name) < len(self.sequences):
            raise ValueError(f"sequences of target {self.name} share a name")

    @property
    def has_ground_truth(self) -> bool:
        """Whether flow is known for at least one pair of frames."""
        return any(sequence.labelled for sequence in self.sequences)

    def __getitem__(self, name: str) -> Sequence:
        try:
            return self._by_name[name]
        except KeyError:
            raise UserError(f"target {self.name} has no sequence {name}") from None

    @cached_property
    def _by_name(self) -> dict[str, Sequence]:
        return {sequence.name: sequence for sequence in self.sequences}


def known_targets() -> tuple[str, ...]:
    """Return the names that `open_target` knows."""
    return (*_NAMES, *(name for name in DATASETS if name not in _NAMES))


def open_target(
    name_or_path: str, data_root: Path | None = None, label_margin: int | None = None
) -> Target:
    """Return the target of a name or a path. No frame is read yet.

    Args:
        name_or_path: a known name (`known_targets`), a video file, a folder of frames, a folder in
            the layout of a known dataset, or a folder of such things at any depth.
        data_root: where datasets are, see `selfflow.datasets.data_root`.
        label_margin: leave out labelled pairs, on which one may want to evaluate, and so many
            frames before and after each; None takes all frames.

    Raises:
        UserError: nothing is there, or it holds no two consecutive frames.
    """
    target = _open(name_or_path, data_root)
    if label_margin is None:
        return target
    left = [part for each in target.sequences for part in apart_from_labels(each, label_margin)]
    if not left:
        raise UserError(
            f"target {target.name}: no two consecutive frames are left without labelled pairs and "
            f"{counted(label_margin, 'frame')} beside each; --set label_margin= takes them all"
        )
    return Target(target.name, tuple(left))


def _open(name_or_path: str, data_root: Path | None) -> Target:
    if name_or_path == "sample":
        return Target("sample", tuple(sample_sequences()))
    if name_or_path.lower() in DATASETS:
        name = name_or_path.lower()
        return Target(name, tuple(dataset_sequences(*find_dataset(name, data_root))))
    path = Path(name_or_path)
    if path.is_dir():
        return Target(path.resolve().name, tuple(_folder(path)))
    if path.is_file():
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            kinds = ", ".join(sorted(VIDEO_SUFFIXES))
            raise UserError(f"{path}: not a video file ({kinds}) and not a folder")
        return Target(path.stem, (VideoFile(path),))
    raise UserError(
        f"no target {name_or_path}: neither a path nor one of {', '.join(known_targets())}"
    )


def _folder(path: Path) -> list[Sequence]:
    for layout in LAYOUTS.values():
        if layout.matches(path):
            return dataset_sequences(layout, path)
    sequences = [*_anything(path)]
    if not sequences:
        raise UserError(f"{path}: no video file and no two consecutive frames in it")
    return sequences


def _anything(root: Path) -> Iterator[Sequence]:
    """Find sequences at any depth, named by where they lie; of a flat folder, by its name."""
    for folder in sorted(path for path in (root, *root.rglob("*")) if path.is_dir()):
        inside = folder.relative_to(root).as_posix()
        name = root.resolve().name if inside == "." else inside
        yield from image_sequences(folder, name)
        for video in video_files(folder):
            yield VideoFile(video, video.relative_to(root).as_posix())
