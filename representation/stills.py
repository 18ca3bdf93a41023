"""Images that have nothing to do with one another, for methods that take single ones."""

from pathlib import Path

from selfflow.io import IMAGE_SUFFIXES, Bytes, read_image
from selfflow.layouts import LAYOUTS
from selfflow.runs.errors import UserError
from selfflow.sequences import Sequence, image_files
from selfflow.video import Target, open_target
from selfflow.videofile import VideoFile, video_files

TOGETHER = 256  # images; those of one sequence are decoded one after the other


class Stills(Sequence):
    """Image files of any sizes, as if they were a sequence's frames."""

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.name = name
        self.paths = [str(path) for path in paths]  # much smaller than paths, of a million

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, index: int) -> Bytes:
        """Return image `index` as `(H, W, 3)` uint8 RGB."""
        self._check_index(index)
        return read_image(Path(self.paths[index]))

    def frame_name(self, index: int) -> str:
        """Return the name of image `index`'s file, without suffix."""
        return Path(self.paths[index]).stem


def open_images(name_or_path: str, data_root: Path | None = None) -> Target:
    """Return the target of a name or a path of which single images are wanted.

    A folder that is not in the layout of a known data set gives all images in it, at any depth, and
    all frames of its videos. Everything else is as for `selfflow.video.open_target`.

    Raises:
        UserError: nothing is there, or no image.
    """
    path = Path(name_or_path)
    known = any(layout.matches(path) for layout in LAYOUTS.values()) if path.is_dir() else True
    if known:
        return open_target(name_or_path, data_root)
    sequences: list[Sequence] = []
    for folder in sorted(each for each in (path, *path.rglob("*")) if each.is_dir()):
        inside = folder.relative_to(path).as_posix()
        images = image_files(folder)
        parts = [images[start : start + TOGETHER] for start in range(0, len(images), TOGETHER)]
        sequences += [Stills(f"{inside}/{part[0].name}", part) for part in parts]
        sequences += [
            VideoFile(video, video.relative_to(path).as_posix()) for video in video_files(folder)
        ]
    if not sequences:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{path}: no image ({kinds}) and no video file in it")
    return Target(path.resolve().name, tuple(sequences))
