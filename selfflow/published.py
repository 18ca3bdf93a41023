"""Published errors, to be shown beside one's own, and why the two may differ.

The figures are of training splits, of models that were not trained on them. SMURF's tables could
not be read when this was written: what is given of them is from memory and marked as unverified.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfflow.datasets import DATASETS, recognise
from selfflow.layouts import LAYOUTS

# What a published figure may be: end-point error and Fl over all pixels, and over images of each
# image's mean; and the end-point error of visible pixels over images.
FIGURES = ("epe", "epe img", "fl", "fl img", "epe noc img")

Part = tuple[str, str]  # a data set's name and the part of it

# How many pairs the published figures are over.
WHOLE: Mapping[Part, int] = {
    ("sintel", "clean"): 1041,
    ("sintel", "final"): 1041,
    ("kitti", ""): 200,
    ("chairs", "val"): 640,
}


@dataclass(frozen=True)
class Published:
    """One row of somebody's table.

    Attributes:
        model: its name.
        trained_on: with labels, unless it says otherwise.
        source: where the figures are from.
        figures: by part of a data set, some of `FIGURES`.
        verified: whether the source itself was read.
        iterations: by data set, where it is known.
    """

    model: str
    trained_on: str
    source: str
    figures: Mapping[Part, Mapping[str, float]]
    verified: bool = True
    iterations: Mapping[str, int] | None = None


_RAFTS = {"sintel": 32, "kitti": 24, "chairs": 24}
_PAPER = "RAFT's paper, as quoted in ptlflow's tables"
_TORCHVISION = "torchvision's description of the weights"
_SMURF = "SMURF's paper, recalled, UNVERIFIED"
_AUTOFLOW = "Perceiver IO, table 3, which quotes AutoFlow; average not stated"
_S_AF = "self-supervised AutoFlow's project page; average not stated"


def _sintel_and_kitti(
    clean: float | None, final: float, kitti: Mapping[str, float]
) -> dict[Part, Mapping[str, float]]:
    passes = {} if clean is None else {("sintel", "clean"): {"epe": clean}}
    return {**passes, ("sintel", "final"): {"epe": final}, ("kitti", ""): kitti}


PUBLISHED: tuple[Published, ...] = (
    Published(
        "RAFT", "Chairs, Things", _PAPER,
        _sintel_and_kitti(1.43, 2.71, {"epe img": 5.04, "fl": 17.4}), iterations=_RAFTS,
    ),
    Published(
        "RAFT small", "Chairs, Things", _PAPER,
        _sintel_and_kitti(2.21, 3.35, {"epe img": 7.51, "fl": 26.9}), iterations=_RAFTS,
    ),
    Published(
        "raft_large C_T_V2", "Chairs, Things", _TORCHVISION,
        _sintel_and_kitti(1.3822, 2.7161, {"epe img": 4.5118, "fl": 16.0679}),
    ),
    Published(
        "raft_small C_T_V2", "Chairs, Things", _TORCHVISION,
        _sintel_and_kitti(1.9901, 3.2831, {"epe img": 7.5978, "fl": 25.2369}),
    ),
    Published(
        "RAFT, AutoFlow", "AutoFlow", _AUTOFLOW, _sintel_and_kitti(1.95, 2.57, {"epe img": 4.23}),
    ),
    Published(
        "supervised AutoFlow", "scenes tuned to labels", _S_AF,
        _sintel_and_kitti(None, 2.41, {"epe img": 3.86}),
    ),
    Published(
        "S-AF", "scenes, no label", _S_AF, _sintel_and_kitti(None, 2.59, {"epe img": 4.22}),
    ),
    Published(
        "SMURF", "test split, no label", _SMURF,
        {
            ("sintel", "clean"): {"epe img": 1.99},
            ("sintel", "final"): {"epe img": 2.80},
            ("kitti", ""): {"epe img": 2.01, "epe noc img": 1.42, "fl img": 6.72},
        },
        verified=False,
    ),
    Published(
        "SMURF", "Chairs, no label", _SMURF,
        {
            ("chairs", "val"): {"epe img": 1.72},
            ("sintel", "clean"): {"epe img": 2.19},
            ("sintel", "final"): {"epe img": 3.35},
            ("kitti", ""): {"epe img": 7.94, "fl img": 26.51},
        },
        verified=False,
    ),
)  # fmt: skip

# What is done otherwise here, by data set.
DIFFERENT: Mapping[str, tuple[str, ...]] = {
    "sintel": ("pixels that Sintel marks as invalid are left out here; RAFT's code counts them",),
    "kitti": ("here frames are padded to multiples of 8 on all sides, by RAFT at the bottom",),
}


def dataset_name(name_or_folder: str) -> str | None:
    """Return the name of the data set that is meant, or whose layout a folder has, or None."""
    if name_or_folder.lower() in DATASETS:
        return name_or_folder.lower()
    folder = Path(name_or_folder)
    found = recognise(folder) if folder.is_dir() else None
    if found is None:
        return None
    return next((name for name, layout in LAYOUTS.items() if layout is found[0]), None)


def published(part: Part) -> list[Published]:
    """Return who published figures for a part of a data set."""
    return [one for one in PUBLISHED if part in one.figures]


def differences(part: Part, pairs: int, iterations: int, warm_start: bool) -> list[str]:
    """Return why own figures are not to be compared with the published ones as they stand."""
    whole, (data, _) = WHOLE[part], part
    reasons = []
    if pairs != whole:
        reasons.append(f"theirs are over all {whole} pairs, yours over {pairs}")
    usual = _RAFTS.get(data)
    if usual is not None and iterations != usual:
        reasons.append(f"RAFT's are after {usual} iterations, yours after {iterations}")
    if warm_start:
        reasons.append("yours start from the flow of the pair before")
    return [*reasons, *DIFFERENT.get(data, ())]
