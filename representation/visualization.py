"""Pictures and films of what an encoder makes of video or images, in a folder.

Each product is a folder of its own (`pca`, `segments-6`, `neighbours-0-120-80`), which appears when
all of it is there. One that is there and was made from the same is kept, so that a command that was
stopped goes on, and more can be asked for later.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from representation.pictures.frames import Frames, evenly
from representation.pictures.products import Colours, Neighbours, Product, Segments
from selfflow.film import write_film
from selfflow.io import image_size, read_image, write_image
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.runs.run import atomic_write, read_table, to_json, write_text

NOTE = "visualization.json"
FILM = "film.mp4"
SAMPLED = 32  # frames that colours, clusters and ranges are made from


@dataclass(frozen=True)
class Wanted:
    """What is to be shown beside the colours.

    Attributes:
        pixel: (x, y) of a frame, in its own size, whose neighbours are looked for; None: none.
        frame: the number of that frame, from 0.
        segments: how many; None: none.
        segments_of: what is clustered together: all frames, or each by itself.
    """

    pixel: tuple[float, float] | None = None
    frame: int = 0
    segments: int | None = None
    segments_of: Literal["all", "each"] = "all"


@dataclass
class Written:
    """What was written.

    Attributes:
        out: the folder.
        frames: that were looked at.
        made: products that were made now.
        kept: those that were there.
        films: paths.
    """

    out: str
    frames: int
    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    films: list[str] = field(default_factory=list)


def visualize(frames: Frames, wanted: Wanted, out: Path, source: Mapping[str, Any]) -> Written:
    """Write the products that are not there yet.

    A product has `FRAME.png` for each frame, in a folder for each sequence if there are several, a
    `film.mp4` of each sequence whose frames are of one size, and `visualization.json`.

    Args:
        frames: what is looked at, and by which encoder.
        wanted: what is shown.
        out: the folder of products.
        source: what frames and features come from, as values that JSON has; noted.

    Raises:
        UserError: `out` holds products of another source, or cannot be written; no such pixel.
    """
    written = Written(str(out), len(frames))
    note, makers = {**source, "frames": len(frames)}, _makers(frames, wanted)
    for name in makers:
        (written.kept if _is_made(out / name, note) else written.made).append(name)
    if not written.made:
        return written
    maps = [frames.features(frames[number]) for number in evenly(len(frames), SAMPLED)]
    products = {name: makers[name](maps) for name in written.made}
    with ExitStack() as stack:
        folders = {name: stack.enter_context(atomic_write(out / name)) for name in written.made}
        pages: dict[str, list[Path]] = defaultdict(list)  # of each sequence, within a product
        for frame in track(frames, "Pictures", len(frames)):
            features = frames.features(frame)
            page = Path(f"{frame.name}.png")
            if frames.several:
                page = frame.sequence.name / page
            pages[frame.sequence.name].append(page)
            for name, product in products.items():
                write_image(folders[name] / page, product.picture(frame, features))
        for name, product in products.items():
            _write_extras(product, folders[name], note)
            films = _write_films(folders[name], pages, frames)
            written.films += [str(out / name / film) for film in films]
    return written


def _is_made(folder: Path, note: Mapping[str, Any]) -> bool:
    """Return whether a product is there; UserError if it is something else."""
    if not folder.exists():
        return False
    known = read_table(folder / NOTE) if (folder / NOTE).is_file() else {}
    for key, value in note.items():
        if known.get(key) != value:
            raise UserError(
                f"{folder} was made with {key} {known.get(key, 'unknown')}, not {value}; "
                "choose another --out"
            )
    return True


def _makers(frames: Frames, wanted: Wanted) -> dict[str, Callable[[list[Tensor]], Product]]:
    """Return the products by name, each made from the features of some of the frames."""
    encoder, pixel, count = frames.encoder, wanted.pixel, wanted.segments
    found: dict[str, Callable[[list[Tensor]], Product]] = {
        "pca": lambda maps: Colours(encoder, maps)
    }
    if count is not None:
        each = wanted.segments_of == "each"
        found[f"segments-{count}" + "-each" * each] = lambda maps: Segments(
            encoder, None if each else maps, count
        )
    if pixel is not None:
        found[f"neighbours-{wanted.frame}-{pixel[0]:g}-{pixel[1]:g}"] = lambda maps: Neighbours(
            frames, maps, wanted.frame, pixel
        )
    return found


def _write_extras(product: Product, folder: Path, note: Mapping[str, Any]) -> None:
    pictures, facts = product.extras()
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", picture)
    write_text(folder / NOTE, to_json({**note, **facts}) + "\n")


def _write_films(folder: Path, pages: Mapping[str, list[Path]], frames: Frames) -> list[Path]:
    """Write a film of each sequence that has several pages, all of one size."""
    films = []
    for sequence in frames.target.sequences:
        paths = [folder / page for page in pages.get(sequence.name, [])]
        if len(paths) < 2 or len({image_size(path) for path in paths}) > 1:
            continue
        film = Path(sequence.name) / FILM if frames.several else Path(FILM)
        write_film(folder / film, map(read_image, paths), sequence.frame_rate)
        films.append(film)
    return films
