"""Flow of a benchmark's test frames, in files as its server takes them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field

from selfflow.datasets import DATASETS, candidate_folders, data_root
from selfflow.io import Float, image_size, read_flo, read_image, write_flo, write_kitti_png
from selfflow.labelled import flow_tensor, image_tensor
from selfflow.objective import evaluating
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.sequences import image_files
from selfflow.warm_start import FlowInTurn


class SubmissionConfig(Config):
    """What is computed for which benchmark."""

    model: str = Field(description="a path, a name in the model store, or a built-in")
    data: str = Field(description="sintel, kitti or kitti2012, or the folder of one")
    iterations: int = Field(32, ge=1, description="of the network; RAFT's paper: 24 on KITTI")
    warm_start: bool = Field(False, description="on video, begin at the flow of the pair before")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@dataclass(frozen=True)
class TestPair:
    """Two frames of unknown flow, and where it belongs in the submission."""

    first: Path
    second: Path
    place: Path

    __test__ = False  # nothing for pytest


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that takes submissions.

    Attributes:
        mark: a folder of test frames; where it is, the data set is.
        pairs: returns the pairs below the data set's folder, in order.
        count: how many the benchmark has.
        write: writes a file of flow `(H, W, 2)`.
        bundling: what makes one file of the folder `{out}`.
    """

    mark: str
    pairs: Callable[[Path], Iterator[TestPair]]
    count: int
    write: Callable[[Path, Float], None]
    bundling: str


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        out: the folder.
        written: flow files of this session.
        kept: flow files that were there already.
        complete: whether these are all that the benchmark asks for.
        next: the command that makes one file of them.
    """

    out: str
    written: int
    kept: int
    complete: bool
    next: str


def _sintel(root: Path) -> Iterator[TestPair]:
    """`test/PASS/SCENE/frame_NNNN.png` to `PASS/SCENE/frameNNNN.flo`, as its bundler reads."""
    for rendering in ("clean", "final"):
        for scene in sorted(
            path for path in (root / "test" / rendering).glob("*") if path.is_dir()
        ):
            numbers = ((path.stem.removeprefix("frame_"), path) for path in image_files(scene))
            frames = {int(number): path for number, path in numbers if number.isdigit()}
            for number, frame in frames.items():
                if number + 1 in frames:
                    place = Path(rendering) / scene.name / f"frame{number:04d}.flo"
                    yield TestPair(frame, frames[number + 1], place)


def _kitti(frames: str, results: str) -> Callable[[Path], Iterator[TestPair]]:
    """`testing/FRAMES/NNNNNN_10.png` and `_11.png` to `RESULTS/NNNNNN_10.png`."""

    def pairs(root: Path) -> Iterator[TestPair]:
        for frame in sorted((root / "testing" / frames).glob("*_10.png")):
            second = frame.with_name(frame.name.replace("_10", "_11"))
            yield TestPair(frame, second, Path(results) / frame.name)

    return pairs


_ZIP = "(cd {out} && zip -r submission.zip {files})"
BENCHMARKS: dict[str, Benchmark] = {
    "sintel": Benchmark(
        "test/clean",
        _sintel,
        2 * 552,
        write_flo,
        "bundler {out}/clean {out}/final {out}/submission.lzma (the bundler comes with Sintel)",
    ),
    "kitti": Benchmark(
        "testing/image_2",
        _kitti("image_2", "flow"),
        200,
        write_kitti_png,
        _ZIP.replace("{files}", "flow"),
    ),
    "kitti2012": Benchmark(
        "testing/colored_0",
        _kitti("colored_0", ""),
        195,
        write_kitti_png,
        _ZIP.replace("{files}", "*.png"),
    ),
}


def find_test_pairs(
    name_or_folder: str, given_root: Path | None = None
) -> tuple[Benchmark, list[TestPair]]:
    """Return a benchmark and the pairs of its test frames that are there.

    Args:
        name_or_folder: a name in `BENCHMARKS`, or the folder of such a data set.
        given_root: where data sets are, see `selfflow.datasets.data_root`.

    Raises:
        UserError: there are no test frames, or a second frame is missing.
    """
    benchmark, folder = _find(name_or_folder, given_root)
    pairs = list(benchmark.pairs(folder))
    if not pairs:
        raise UserError(f"{folder / benchmark.mark}: no two frames in a row in it")
    for pair in pairs:
        if not pair.second.is_file():
            raise UserError(f"{pair.second}: this frame is missing")
    return benchmark, pairs


def _find(name_or_folder: str, given_root: Path | None) -> tuple[Benchmark, Path]:
    name = name_or_folder.lower()
    if name in BENCHMARKS:
        benchmark, (root, origin) = BENCHMARKS[name], data_root(given_root)
        for folder in candidate_folders(root, DATASETS[name]):
            if (folder / benchmark.mark).is_dir():
                return benchmark, folder
        raise UserError(
            f"no test frames of {name}: looked for {benchmark.mark} in its folder in {root} "
            f"({origin}); get them from {DATASETS[name].source}"
        )
    for benchmark in BENCHMARKS.values():
        if (Path(name_or_folder) / benchmark.mark).is_dir():
            return benchmark, Path(name_or_folder)
    marks = ", ".join(benchmark.mark for benchmark in BENCHMARKS.values())
    raise UserError(
        f"{name_or_folder}: neither one of {', '.join(BENCHMARKS)} nor a folder that holds one of "
        f"{marks}"
    )


@torch.no_grad()
def submit(
    flow_of: FlowInTurn,
    benchmark: Benchmark,
    pairs: Sequence[TestPair],
    out: Path,
    device: torch.device | str = "cpu",
) -> Summary:
    """Write the flow of all pairs below `out`; files that are there are kept.

    With warm start, a session that continues reads the flow of the pair before from its file, so
    that the result is that of a session that was never stopped.
    """
    written = 0
    kept: tuple[TestPair, Path] | None = None
    with evaluating(flow_of.model):
        for pair in track(pairs, "Flow of test frames"):
            path = out / pair.place
            if path.exists():
                kept = (pair, path)
                continue
            if kept is not None and flow_of.warm_start and kept[0].second == pair.first:
                flow_of.remember(
                    _frame(pair.first, device), flow_tensor(read_flo(kept[1])).to(device)
                )
            flow = flow_of(*_frames(pair, device))
            benchmark.write(path, flow[0].permute(1, 2, 0).float().cpu().numpy())
            written += 1
            kept = None
    return Summary(
        str(out),
        written,
        len(pairs) - written,
        len(pairs) == benchmark.count,
        benchmark.bundling.format(out=out),
    )


def _frames(pair: TestPair, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = [image_size(path) for path in (pair.first, pair.second)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{pair.second}: {sizes[1][1]}x{sizes[1][0]}, but {pair.first.name} is "
            f"{sizes[0][1]}x{sizes[0][0]}"
        )
    return _frame(pair.first, device), _frame(pair.second, device)


def _frame(path: Path, device: torch.device | str) -> torch.Tensor:
    return image_tensor(read_image(path)).to(device)
