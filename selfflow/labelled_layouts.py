"""How data sets with known flow lie on disk: from a folder to the sequences of each part."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

from selfflow.labelled import (
    LABEL_READERS,
    flo_label,
    kitti_label,
    pfm_label,
    png_label,
    sintel_label,
    spring_label,
)
from selfflow.runs.errors import UserError
from selfflow.sequences import (
    FlowLabel,
    ImageSequence,
    Sequence,
    frame_runs,
    named_runs,
)

Parts = Mapping[str, list[Sequence]]
Reader = Callable[[Path], FlowLabel]


class PartsOnDemand(Mapping[str, list[Sequence]]):
    """Parts of a large data set: only those that are asked for are looked up on disk."""

    def __init__(self, finders: Mapping[str, Callable[[], list[Sequence]]]) -> None:
        self._finders = finders

    def __getitem__(self, part: str) -> list[Sequence]:
        return self._finders[part]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._finders)

    def __len__(self) -> int:
        return len(self._finders)


def folders(parent: Path) -> list[Path]:
    """Return the sub-folders of a folder, by name; none if there is no such folder."""
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def first(root: Path, *names: str) -> Path:
    """Return the first of several sub-folders that exists."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _labels(
    run: list[Path], flow_of: Callable[[Path], Path], read: Reader
) -> dict[int, Callable[[], FlowLabel]]:
    """Return what reads the flow from each frame to the next, where its file exists."""
    files = {index: flow_of(frame) for index, frame in enumerate(run[:-1])}
    return {index: partial(read, file) for index, file in files.items() if file.is_file()}


def sintel(root: Path) -> Parts:
    """`training/PASS/SCENE/frame_NNNN.png`, with `flow`, `occlusions` and `invalid` beside."""
    training = root / "training"

    def read(flow: Path) -> FlowLabel:
        place = Path(flow.parent.name) / f"{flow.stem}.png"
        return sintel_label(flow, training / "occlusions" / place, training / "invalid" / place)

    def scene(folder: Path) -> list[Sequence]:
        flows = training / "flow" / folder.name
        return [
            ImageSequence(
                name, run, _labels(run, lambda frame: flows / f"{frame.stem}.flo", read), 24.0
            )
            for name, run in named_runs(folder, folder.name)
        ]

    return {
        part: [sequence for folder in folders(training / part) for sequence in scene(folder)]
        for part in ("clean", "final")
    }


def kitti(root: Path) -> Parts:
    """`training/image_2/NNNNNN_10.png, _11.png` (2012: `colored_0`), `flow_occ`, `flow_noc`.

    2015 adds `obj_map`, which marks what moves by itself. The multi-view extension (frames 00 to
    20) makes longer sequences; labels start at frame 10.
    """
    training = root / "training"

    def read(occ: Path) -> FlowLabel:
        return kitti_label(*(training / kind / occ.name for kind in kinds))

    kinds = ("flow_occ", "flow_noc", "obj_map")
    runs = frame_runs(first(training, "image_2", "colored_0", "image_0"))
    return {
        "": [
            ImageSequence(
                run[0].stem,
                run,
                _labels(run, lambda frame: training / "flow_occ" / frame.name, read),
                frame_rate=10.0,
            )
            for run in runs
        ]
    }


def hd1k(root: Path) -> Parts:
    """`hd1k_input/image_2/NNNNNN_NNNN.png`, `hd1k_flow_gt/flow_occ` under the same names.

    Its uncertainties are not used, nor are they in RAFT's training.
    """
    flows = root / "hd1k_flow_gt" / "flow_occ"
    return {
        "": [
            ImageSequence(
                run[0].stem, run, _labels(run, lambda frame: flows / frame.name, png_label)
            )
            for run in frame_runs(root / "hd1k_input" / "image_2")
        ]
    }


def middlebury(root: Path) -> Parts:
    """`other-data/SCENE/frame10.png, frame11.png` and `other-gt-flow/SCENE/flow10.flo`."""
    frames = first(root, "other-data", "other-color-allframes", "other-color-twoframes")
    sequences: list[Sequence] = []
    for folder in folders(frames):
        flow = root / "other-gt-flow" / folder.name / "flow10.flo"
        for name, run in named_runs(folder, folder.name):
            labels = {
                index: partial(flo_label, flow)
                for index, path in enumerate(run[:-1])
                if path.stem == "frame10" and flow.is_file()
            }
            sequences.append(ImageSequence(name, run, labels))
    return {"": sequences}


def chairs(root: Path) -> Parts:
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


def chairs2(root: Path) -> Parts:
    """FlyingChairs2: `train/NNNNNNN-img_0.png, -img_1.png, -flow_01.flo`, and `val`."""

    def part(folder: Path) -> list[Sequence]:
        sequences: list[Sequence] = []
        for flow in sorted(folder.glob("*-flow_01.flo")):
            name = flow.name.removesuffix("-flow_01.flo")
            frames = [flow.with_name(f"{name}-img_{k}.png") for k in (0, 1)]
            sequences.append(ImageSequence(name, frames, {0: partial(flo_label, flow)}))
        return sequences

    return {name: part(root / name) for name in ("train", "val")}


def autoflow(root: Path) -> Parts:
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


def things(root: Path) -> Parts:
    """FlyingThings3D: `frames_cleanpass/TRAIN/A/0000/left/0006.png` and, for its flow,
    `optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm`.

    Parts are `clean` and `final`: the left camera of TRAIN, forward in time. `clean-right` is the
    right camera, `clean-past` the same frames read backwards (with `into_past`, which leads from
    a frame to the one before it), `test-clean` the scenes of TEST; all of it combines.
    """

    def part(split: str, kind: str, camera: str, direction: str) -> list[Sequence]:
        sequences: list[Sequence] = []
        for scene in sorted((root / f"frames_{kind}pass" / split).glob("*/*")):
            place = f"{scene.parent.name}/{scene.name}"
            flows = root / "optical_flow" / split / place / f"into_{direction.lower()}" / camera
            name = f"OpticalFlowInto{direction}_{{}}_{camera[0].upper()}.pfm"
            sequences += _in_direction(direction, place, scene / camera, flows / name, pfm_label)
        return sequences

    return PartsOnDemand(
        {
            f"{prefix}{kind}{eye}{time}": partial(part, split, kind, camera, direction)
            for (prefix, split), kind, (eye, camera), (time, direction) in product(
                (("", "TRAIN"), ("test-", "TEST")), ("clean", "final"), _CAMERAS, _DIRECTIONS
            )
            if (root / f"frames_{kind}pass" / split).is_dir()
        }
    )


def spring(root: Path) -> Parts:
    """Spring: `train/0001/frame_left/frame_left_0001.png` and, for its flow,
    `train/0001/flow_FW_left/flow_FW_left_0001.flo5`; `BW` leads to the frame before.

    Parts are `left`, `right`, and the same frames read backwards: `left-past`, `right-past`.
    """

    def part(camera: str, direction: str) -> list[Sequence]:
        sequences: list[Sequence] = []
        for scene in folders(root / "train"):
            kind = f"flow_{'FW' if direction == 'Future' else 'BW'}_{camera}"
            flows = scene / kind / f"{kind}_{{}}.flo5"
            frames = scene / f"frame_{camera}"
            sequences += _in_direction(direction, scene.name, frames, flows, spring_label)
        return sequences

    return PartsOnDemand(
        {
            f"{camera}{time}": partial(part, camera, direction)
            for (_, camera), (time, direction) in product(_CAMERAS, _DIRECTIONS)
        }
    )


_CAMERAS = (("", "left"), ("-right", "right"))
_DIRECTIONS = (("", "Future"), ("-past", "Past"))


def _in_direction(
    direction: str, name: str, frames: Path, flows: Path, read: Reader
) -> list[Sequence]:
    """Return a folder's sequences, backwards for "Past"; `{}` in `flows` is a frame's number."""

    def flow_of(frame: Path) -> Path:
        return flows.with_name(flows.name.replace("{}", frame.stem.rpartition("_")[2]))

    if not frames.is_dir():
        return []
    ways = {"Future": 1, "Past": -1}
    runs = [(each, run[:: ways[direction]]) for each, run in named_runs(frames, name)]
    return [ImageSequence(each, run, _labels(run, flow_of, read)) for each, run in runs]


def folder_of_pairs(root: Path) -> Parts:
    """Any frames with known flow: the flow to the next frame is named after the frame.

    It is a `.flo`, `.flo5` or `.pfm` beside the frame; or, where frames lie in `frames` and flow in
    `flow`, at the same place there (then KITTI's `.png` as well). Folders may be nested; frames
    are put in order by the numbers in their names.
    """
    apart = (root / "frames").is_dir() and (root / "flow").is_dir()
    base = root / "frames" if apart else root
    suffixes = [suffix for suffix in LABEL_READERS if apart or suffix != ".png"]

    def flow_of(frame: Path) -> Path:
        place = root / "flow" / frame.relative_to(base) if apart else frame
        files = [place.with_suffix(suffix) for suffix in suffixes]
        return next((file for file in files if file.is_file()), files[0])

    def read(file: Path) -> FlowLabel:
        return LABEL_READERS[file.suffix](file)

    sequences: list[Sequence] = []
    for folder in sorted(path for path in (base, *base.rglob("*")) if path.is_dir()):
        inside = folder.relative_to(base).as_posix()
        for name, run in named_runs(folder, root.resolve().name if inside == "." else inside):
            if labels := _labels(run, flow_of, read):
                sequences.append(ImageSequence(name, run, labels))
    return {"": sequences}
