"""Sequences with masks in DAVIS's layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfflow.datasets import DATASETS, Dataset
from selfflow.runs.errors import UserError
from selfflow.runs.wording import counted
from selfflow.sequences import image_files

YEARS = (2017, 2016)


class Davis:
    """DAVIS's layout, for `representation.readout.places.find_place`."""

    marks: tuple[str, ...] = ("Annotations/480p", "Annotations/Full-Resolution")
    dataset: Dataset = DATASETS["davis"]


LAYOUTS: Mapping[str, Davis] = {"davis": Davis()}


@dataclass(frozen=True)
class MaskedClip:
    """A sequence of frames with masks.

    Attributes:
        name: of the sequence.
        frames: image files, in order.
        masks: of the first frame and of others, by the frame's index.
    """

    name: str
    frames: tuple[Path, ...]
    masks: Mapping[int, Path]

    @property
    def scored(self) -> list[int]:
        """Frames that count: with a mask, and neither the first nor the last one."""
        return [index for index in sorted(self.masks) if 0 < index < len(self.frames) - 1]

    def shortened(self, limit: int | None) -> "MaskedClip":
        """Return the sequence's first `limit` frames; UserError if none of them is scored."""
        if limit is None or limit >= len(self.frames):
            return self
        kept = {index: path for index, path in self.masks.items() if index < limit}
        clip = MaskedClip(self.name, self.frames[:limit], kept)
        if not clip.scored:
            raise UserError(f"sequence {self.name}: no mask to score in its first {limit} frames")
        return clip


@dataclass(frozen=True)
class Choice:
    """Which sequences are used, and why.

    Attributes:
        year: 2017 if each object counts, 2016 if all of a sequence are one; None if nothing says.
        source: the list that names them, or what was taken where there is none.
        clips: the sequences.
    """

    year: int | None
    source: str
    clips: tuple[MaskedClip, ...]


def choose_clips(
    root: Path,
    *,
    year: int | None = None,
    subset: str = "val",
    resolution: str = "480p",
    names: Sequence[str] = (),
) -> Choice:
    """Return the sequences of `ROOT/ImageSets/YEAR/SUBSET.txt`, else all that have masks.

    `ROOT/JPEGImages/RESOLUTION/NAME` holds the frames, `ROOT/Annotations/RESOLUTION/NAME` the
    masks, under the same names.

    Args:
        root: of the data set.
        year: whose list; None takes the first of 2017's and 2016's that is there.
        subset: which list of that year.
        resolution: the folder's name.
        names: take these and no others.

    Raises:
        UserError: there are none; or one of them lacks frames, the first frame's mask, or other
            masks.
    """
    frames, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    for folder in (frames, masks):
        if not folder.is_dir():
            raise UserError(f"{root}: there is no folder {folder.relative_to(root)}")
    listed = _listed(root, (year,) if year else YEARS, subset)
    if names:
        found, source = list(names), "the named ones"
        year = year or (listed[0] if listed else None)
    elif listed:
        year, source, found = listed
    else:
        found = sorted(each.name for each in masks.iterdir() if each.is_dir())
        source = "all that have masks"
    if not found:
        raise UserError(f"{root}: no sequence in {source}")
    return Choice(year, source, tuple(_clip(name, frames / name, masks / name) for name in found))


def _listed(root: Path, years: Sequence[int], subset: str) -> tuple[int, str, list[str]] | None:
    """Return the first list that is there: its year, its path below the root, what it names."""
    for year in years:
        # DAVIS-2016 as it was first distributed lists pairs of files instead of sequences.
        for folder in (str(year), *(("480p",) if year == 2016 else ())):
            path = root / "ImageSets" / folder / f"{subset}.txt"
            if path.is_file():
                return year, path.relative_to(root).as_posix(), _names(path)
    return None


def _names(path: Path) -> list[str]:
    lines = [
        line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.split()
    ]
    return list(dict.fromkeys(Path(line).parent.name if "/" in line else line for line in lines))


def _clip(name: str, frames: Path, masks: Path) -> MaskedClip:
    for folder in (frames, masks):
        if not folder.is_dir():
            raise UserError(f"sequence {name}: there is no folder {folder}")
    images = image_files(frames)
    by_name = {path.stem: path for path in image_files(masks)}
    found = {i: by_name[path.stem] for i, path in enumerate(images) if path.stem in by_name}
    if len(images) < 3:
        raise UserError(f"{frames}: {counted(len(images), 'frame')}, at least three are needed")
    if 0 not in found:
        raise UserError(f"{masks}: there is no mask of the first frame, {images[0].stem}.png")
    clip = MaskedClip(name, tuple(images), found)
    if not clip.scored:
        raise UserError(f"{masks}: no mask but the first and the last frame's, so none to score")
    return clip
