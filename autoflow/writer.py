"""A rendered set on disk, in a layout that other people's readers know.

Sample i of a set depends on (hyperparameters, seed, i) alone, so a set that was interrupted is
finished by rendering what is missing.
"""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.stream import stream
from autoflow.textures import PhotographBank
from selfflow.io import write_flo, write_image, write_kitti_png
from selfflow.pairs import Pairs
from selfflow.runs.config import flatten
from selfflow.runs.errors import UserError
from selfflow.runs.progress import track
from selfflow.runs.run import to_json, write_text

MANIFEST = "render.json"
# Samples are always rendered in the same groups, whatever is missing, so that a set that was
# finished later has the same bytes.
GROUP = 4


@dataclass(frozen=True)
class Example:
    """One sample as files hold it: images `(H, W, 3)` uint8, flow `(H, W, 2)`, masks `(H, W)`."""

    image1: npt.NDArray[np.uint8]
    image2: npt.NDArray[np.uint8]
    flow: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]


Write = Callable[[Path, Example], None]


def _image1(path: Path, example: Example) -> None:
    write_image(path, example.image1)


def _image2(path: Path, example: Example) -> None:
    write_image(path, example.image2)


def _flo(path: Path, example: Example) -> None:
    write_flo(path, example.flow)


def _flow_all(path: Path, example: Example) -> None:
    write_kitti_png(path, example.flow, example.valid & _fits_kitti(example.flow))


def _flow_visible(path: Path, example: Example) -> None:
    known = example.valid & example.visible & _fits_kitti(example.flow)
    write_kitti_png(path, example.flow, known)


def _fits_kitti(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """16 bits hold -512 to 511.98 px; flow beyond that is written as unknown, not clipped."""
    fits: npt.NDArray[np.bool_] = np.all(np.abs(flow) < 511.9, axis=-1)
    return fits


def chairs(index: int) -> dict[str, Write]:
    """FlyingChairs: `FlyingChairs/data/00001_img1.ppm, _img2.ppm, _flow.flo`, counted from 1."""
    stem = f"FlyingChairs/data/{index + 1:05d}"
    return {f"{stem}_img1.ppm": _image1, f"{stem}_img2.ppm": _image2, f"{stem}_flow.flo": _flo}


def autoflow(index: int) -> dict[str, Write]:
    """AutoFlow: `table_T_batch_B/im0.png, im1.png, forward.flo`; 128 batches to a table."""
    folder = f"table_{index // 128}_batch_{index % 128}"
    return {
        f"{folder}/im0.png": _image1,
        f"{folder}/im1.png": _image2,
        f"{folder}/forward.flo": _flo,
    }


def kitti(index: int) -> dict[str, Write]:
    """KITTI 2015: `training/image_2/000000_10.png, _11.png, flow_occ, flow_noc`."""
    return {
        f"training/image_2/{index:06d}_10.png": _image1,
        f"training/image_2/{index:06d}_11.png": _image2,
        f"training/flow_occ/{index:06d}_10.png": _flow_all,
        f"training/flow_noc/{index:06d}_10.png": _flow_visible,
    }


LAYOUTS: dict[str, Callable[[int], dict[str, Write]]] = {
    "chairs": chairs,
    "autoflow": autoflow,
    "kitti": kitti,
}
_LARGEST = {"chairs": 99_999, "autoflow": 10_000_000, "kitti": 1_000_000}


def write_set(
    sets: Sequence[Hyperparameters],
    *,
    count: int,
    size: tuple[int, int],
    seed: int,
    layout: str,
    out: Path,
    device: torch.device | str = "cpu",
    photographs: PhotographBank | None = None,
) -> int:
    """Render samples 0 to `count` - 1 into `out`; return how many were missing.

    Args:
        sets: the hyperparameters, or several sets to be mixed.
        count: number of samples; a set may grow when it is written again with a larger one.
        size: height and width in pixels.
        seed: of the stream.
        layout: one of `LAYOUTS`.
        out: a new or empty folder, or one that the same set was begun in.
        device: where scenes are rendered.
        photographs: pictures to cut textures from.

    Raises:
        UserError: `out` holds something else, or the layout has no names for so many samples.
    """
    if count < 1:
        raise UserError(f"--count must be at least 1, got {count}")
    if count > _LARGEST[layout]:
        raise UserError(f"--count {count}: the {layout} layout names at most {_LARGEST[layout]}")
    scenes = stream(
        sets,
        seed=seed,
        size=size,
        batch_size=GROUP,
        device=device,
        photographs=photographs,
        augment=False,
    )
    described = {"layout": layout, "seed": seed, "size": size, "sets": [*map(flatten, sets)]}
    _claim(out, described | {"photographs": _fingerprint(photographs)})
    _remove_halves(out)
    files = LAYOUTS[layout]
    missing = [i for i in range(count) if not all((out / name).exists() for name in files(i))]
    groups = sorted({index // GROUP for index in missing})
    with ThreadPoolExecutor() as pool:
        for group in track(groups, title=f"Rendering to {out}"):
            examples = _examples(scenes.batch_at(group))
            indices = range(group * GROUP, min((group + 1) * GROUP, count))
            wanted = [(i, e) for i, e in zip(indices, examples, strict=False) if i in set(missing)]
            list(pool.map(lambda item: _write(out, files(item[0]), item[1]), wanted))
    if layout == "chairs":
        _write_split(out, count)
    return len(missing)


def _write(out: Path, files: dict[str, Write], example: Example) -> None:
    for name, write in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write(out / name, example)


def _write_split(out: Path, count: int) -> None:
    """Write which samples are for training (1) and validation (2), one in 36 as in the original."""
    lines = ("2" if index % 36 == 35 else "1" for index in range(count))
    write_text(out / "FlyingChairs" / "FlyingChairs_train_val.txt", "\n".join(lines) + "\n")


def _fingerprint(photographs: PhotographBank | None) -> int | None:
    """Return a number that differs where pictures differ."""
    if photographs is None:
        return None
    return zlib.crc32(b"".join(picture.tobytes() for picture in photographs.pictures))


def _claim(out: Path, described: dict[str, Any]) -> None:
    """Take `out` for this set: new or empty, or begun with the same description."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: not a folder")
    manifest = out / MANIFEST
    text = to_json(described) + "\n"
    if manifest.exists():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        for name, value in json.loads(text).items():
            if found.get(name) != value:
                raise UserError(f"{out}: holds another set (its {name} differs); choose another")
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty and holds no set that `autoflow render` began")
    write_text(manifest, text)


def _remove_halves(out: Path) -> None:
    """Remove what a process left that was killed while it wrote, see `atomic_write`."""
    for path in list(out.rglob(".*")):
        if re.fullmatch(r"\.[0-9a-f]{12}-.+", path.name):
            path.unlink()


def _examples(pairs: Pairs) -> list[Example]:
    """Split a batch into what files hold."""
    assert pairs.flow is not None
    assert pairs.valid is not None
    assert pairs.visible is not None
    images1, images2 = _bytes(pairs.image1), _bytes(pairs.image2)
    flow = pairs.flow.permute(0, 2, 3, 1).float().cpu().numpy()
    valid, visible = (mask[:, 0].cpu().numpy() for mask in (pairs.valid, pairs.visible))
    return [Example(*parts) for parts in zip(images1, images2, flow, valid, visible, strict=True)]


def _bytes(images: Tensor) -> npt.NDArray[np.uint8]:
    """Images `(B, 3, H, W)` in [0, 1] as `(B, H, W, 3)` uint8, rounded."""
    scaled = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()
