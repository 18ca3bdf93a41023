"""How data sets of depth lie on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import scipy.io

from representation.readout.dense.examples import Example, Parts
from representation.readout.dense.layouts import checked
from representation.readout.dense.sources import Stored, stored_shape
from selfflow.datasets import Dataset
from selfflow.runs.errors import UserError

LABELLED = "nyu_depth_v2_labeled.mat"


@dataclass(frozen=True)
class DepthLayout:
    """How a data set lies on disk, see `representation.readout.places`."""

    marks: tuple[str, ...]
    dataset: Dataset
    read: Callable[[Path], Parts] = field(repr=False)


def read_nyu(root: Path) -> Parts:
    """Return NYU-Depth v2's parts train (795 images) and test (654).

    From `nyu_depth_v2_labeled.mat` and `splits.mat`, as they are distributed (the depth is the one
    that was filled in); else from `train/SCENE` and `test/SCENE`, in which `rgb_N.jpg` is beside
    `sync_depth_N.png`, 16 bits in mm, possibly under `official_splits`.
    """
    if (root / LABELLED).is_file():
        return _read_labelled(root / LABELLED, root / "splits.mat")
    inner = root / "official_splits"
    base = inner if inner.is_dir() else root
    parts = {part: _read_scenes(root, base / part) for part in ("train", "test")}
    return checked(parts, root)


def _read_labelled(file: Path, splits: Path) -> Parts:
    if not splits.is_file():
        raise UserError(f"{splits} is not there; it says which images are trained on: get it too")
    try:
        numbers = scipy.io.loadmat(str(splits), variable_names=["trainNdxs", "testNdxs"])
        chosen = {part: numbers[f"{part}Ndxs"].ravel().tolist() for part in ("train", "test")}
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{splits} holds no trainNdxs and testNdxs: {error}") from None
    count = stored_shape(file, "images")[0]
    if stored_shape(file, "depths")[0] != count:
        raise UserError(f"{file} has not as many depths as images")
    for part, indices in chosen.items():
        if not all(1 <= index <= count for index in indices):
            raise UserError(f"{splits}: {part}Ndxs are not all from 1 to {count}")
    return {
        part: tuple(
            Example(f"{index:04d}", *(Stored(file, name, index - 1) for name in _DATASETS))
            for index in sorted(indices)
        )
        for part, indices in chosen.items()
    }


_DATASETS = ("images", "depths")


def _read_scenes(root: Path, folder: Path) -> tuple[Example, ...]:
    examples = []
    for image in sorted(folder.glob("*/rgb_*")):
        depth = image.with_name(image.stem.replace("rgb_", "sync_depth_") + ".png")
        if not depth.is_file():
            raise UserError(f"{image} has no depth beside it: there is no {depth.name}")
        name = image.relative_to(root).with_suffix("").as_posix()
        examples.append(Example(name, image, depth))
    return tuple(examples)


LAYOUTS: Mapping[str, DepthLayout] = {
    "nyu": DepthLayout(
        (LABELLED, "official_splits/*/*/rgb_*", "train/*/rgb_*"),
        Dataset(
            ("nyu", "nyudepthv2", "nyuv2", "nyudepth", "nyu2"),
            "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html (labelled data set; splits.mat)",
        ),
        read_nyu,
    ),
}
