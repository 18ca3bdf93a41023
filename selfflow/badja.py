"""BADJA's joints of animals in videos of DAVIS: what is annotated, and where its frames are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selfflow.datasets import DATASETS, Dataset, candidate_folders, data_root
from selfflow.io import image_size, read_mask
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_json
from selfflow.sequences import ImageSequence, image_files

NAMES = ("badja", "davis-badja")
SOURCE = "https://github.com/benjiebob/BADJA"
# The joints that BADJA's own catalogue counts as annotated, of 37.
JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
# (height, width) to which its positions on DAVIS refer, whose 480p frames are resized from it.
_FULL = (1080, 1920)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Joints:
    """Annotated joints of one frame; positions and area are shares of the frame's size.

    Attributes:
        positions: `(N, 2)`, x then y, from the frame's left and upper edge.
        visible: `(N,)` bool.
        area: of the animal's segmentation.
    """

    positions: Floats
    visible: npt.NDArray[np.bool_]
    area: float


@dataclass(frozen=True)
class JointVideo:
    """Frames from the first annotated one to the last, and the joints of some of them."""

    frames: ImageSequence
    joints: dict[int, Joints]


def find_badja(name_or_folder: str, given_root: Path | None = None) -> Path | None:
    """Return the folder of BADJA that is meant, or None if something else is.

    Raises:
        UserError: it is asked for by name and not there.
    """
    if name_or_folder.lower() not in NAMES:
        folder = Path(name_or_folder)
        return folder if (folder / "joint_annotations").is_dir() else None
    root, origin = data_root(given_root)
    for folder in candidate_folders(root, Dataset(("badja", "badjadata", "badjamaster"), SOURCE)):
        if (folder / "joint_annotations").is_dir():
            return folder
    raise UserError(
        f"no folder badja holding joint_annotations in {root} ({origin}); get it from {SOURCE}"
    )


def joint_videos(
    folder: Path, given_root: Path | None = None, *, davis_only: bool = False
) -> tuple[list[JointVideo], dict[str, str]]:
    """Return the videos whose frames are there, and why the others are left out.

    `folder/joint_annotations/NAME.json` names frames and masks by paths below `folder`, such as
    `DAVIS/JPEGImages/Full-Resolution/bear/00002.jpg`. Where they are not there, those of DAVIS
    under the data root are taken, also at 480p, to which positions are scaled as from 1920x1080.

    Args:
        folder: of BADJA.
        given_root: where data sets are, see `selfflow.datasets.data_root`.
        davis_only: leave out the videos that are not DAVIS's.
    """
    davis = [folder / "DAVIS", *candidate_folders(data_root(given_root)[0], DATASETS["davis"])]
    videos, skipped = [], {}
    for path in sorted((folder / "joint_annotations").glob("*.json")):
        entries = _entries(path)
        if davis_only and not entries[0]["image_path"].startswith("DAVIS/"):
            continue
        try:
            videos.append(_video(path, entries, folder, davis))
        except _Missing as missing:
            skipped[path.stem] = str(missing)
    if not videos:
        reason = next(iter(skipped.values()), "there is none")
        raise UserError(f"{folder / 'joint_annotations'}: no video of it can be used: {reason}")
    return videos, skipped


class _Missing(Exception):
    """A file of a video is not there."""


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the annotated frames of a file, in order."""
    content = read_json(path)
    keys = {"image_path", "segmentation_path", "joints", "visibility"}
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: a list of annotated frames is needed")
    for entry in content:
        if not isinstance(entry, dict) or not keys <= entry.keys():
            raise UserError(f"{path}: a frame needs {', '.join(sorted(keys))}")
        shapes = (np.shape(entry["joints"]), np.shape(entry["visibility"]))
        if shapes[0][1:] != (2,) or shapes[1] != shapes[0][:1] or shapes[1][0] <= max(JOINTS):
            raise UserError(f"{path}: a frame needs {max(JOINTS) + 1} joints and their visibility")
    return content


def _video(
    path: Path, entries: list[dict[str, Any]], folder: Path, davis: list[Path]
) -> JointVideo:
    images = [_locate(entry["image_path"], folder, davis) for entry in entries]
    files = image_files(images[0].parent)
    indices = {file.name: index for index, file in enumerate(files)}
    first, last = (indices[image.name] for image in (images[0], images[-1]))
    joints = {}
    for entry, image in zip(entries, images, strict=True):
        mask = read_mask(_locate(entry["segmentation_path"], folder, davis))
        full = _FULL if "480p" in image.parts else image_size(image)
        rows_first = np.asarray(entry["joints"], np.float64)[list(JOINTS)]
        # Pixel centres lie half a pixel inside the frame, at every resolution.
        positions = (rows_first[:, ::-1] + 0.5) / (full[1], full[0])
        visible = np.asarray(entry["visibility"], bool)[list(JOINTS)]
        joints[indices[image.name] - first] = Joints(positions, visible, float(mask.mean()))
    if len(joints) < 2 or list(joints) != sorted(joints):
        raise UserError(f"{path}: two annotated frames or more are needed, in order of time")
    frames = files[first : last + 1]
    numbers = [int(frame.stem) for frame in (frames[0], frames[-1]) if frame.stem.isdigit()]
    if len(numbers) == 2 and len(frames) != numbers[1] - numbers[0] + 1:
        between = f"{frames[0].name} and {frames[-1].name}"
        raise _Missing(f"{frames[0].parent}: not all frames between {between} are there")
    return JointVideo(ImageSequence(path.stem, frames), joints)


def _locate(name: str, folder: Path, davis: list[Path]) -> Path:
    """Return the file of a path as BADJA writes it, or of the same frame of DAVIS at 480p."""
    candidates = [folder / name]
    if name.startswith("DAVIS/"):
        below = name.removeprefix("DAVIS/")
        sizes = (below, below.replace("Full-Resolution", "480p"))
        candidates = [root / one for root in davis for one in sizes]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise _Missing(f"{name} is neither in {folder} nor in DAVIS under the data root")
