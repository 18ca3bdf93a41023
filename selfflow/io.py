"""Images and flow fields in files: PNG, JPEG, PPM, `.flo`, `.flo5`, `.pfm`, KITTI's 16-bit PNG.

Arrays are numpy: images `(H, W, 3)` uint8 RGB, flow `(H, W, 2)` float32 in pixels, x then y, masks
`(H, W)` bool. A file that is not what its name says raises `UserError` with the file's name.
Writing is atomic: a file is there whole or not at all.
"""

import struct
from importlib import import_module
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

_FLO_MAGIC = 202021.25
_LARGEST_SIDE = 1 << 16  # a header with more than this is not a header

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".tif", ".tiff"})


def _contents(path: Path) -> bytes:
    """Return a file's bytes; UserError if there is none, or it is empty."""
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not contents:
        raise UserError(f"{path}: the file is empty")
    return contents


def _write(path: Path, contents: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(contents)


def _check_size(path: Path, height: int, width: int) -> None:
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
        raise UserError(f"{path}: a size of {width}x{height} is impossible")


def _check_some_finite(path: Path, values: Float) -> None:
    if not np.isfinite(values).any():
        raise UserError(f"{path}: every value is NaN or infinite")


def read_image(path: Path) -> Bytes:
    """Return an image as `(H, W, 3)` uint8 RGB; grey images are repeated, alpha is dropped."""
    contents = _contents(path)
    try:
        with Image.open(BytesIO(contents)) as image:
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: a broken image ({error})") from None


def image_size(path: Path) -> tuple[int, int]:
    """Return an image's (height, width) from its header alone."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def read_mask(path: Path) -> Bool:
    """Return where an image is not black, `(H, W)` bool."""
    return np.asarray(read_image(path).any(axis=-1))


def write_image(path: Path, image: Bytes) -> None:
    """Write `(H, W, 3)` uint8 RGB (or `(H, W)` grey) in the format that the suffix names."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"an image is (H, W, 3) or (H, W) uint8, got {image.shape} {image.dtype}")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{path}: {path.suffix or 'no suffix'} is not an image format")
    buffer = BytesIO()
    kind = Image.registered_extensions()[path.suffix.lower()]
    Image.fromarray(image).save(buffer, kind)
    _write(path, buffer.getvalue())


def read_flo(path: Path) -> Float:
    """Return the flow `(H, W, 2)` of a Middlebury `.flo` file.

    Float 202021.25, int32 width, int32 height, then u, v row by row, all little-endian. Unknown
    flow is left as it is stored (beyond 1e9 in Middlebury's files).
    """
    contents = _contents(path)
    if len(contents) < 12:
        raise UserError(f"{path}: too short for a .flo file ({len(contents)} bytes)")
    magic, width, height = struct.unpack("<fii", contents[:12])
    if magic != _FLO_MAGIC:
        raise UserError(f"{path}: not a .flo file (it does not begin with 202021.25)")
    _check_size(path, height, width)
    expected = 12 + height * width * 8
    if len(contents) != expected:
        raise UserError(
            f"{path}: {width}x{height} needs {expected} bytes, the file has {len(contents)}"
        )
    flow = np.frombuffer(contents, "<f4", offset=12).reshape(height, width, 2)
    _check_some_finite(path, flow)
    return flow.astype(np.float32)


def write_flo(path: Path, flow: Float) -> None:
    """Write flow `(H, W, 2)` as a Middlebury `.flo` file."""
    _check_flow(flow)
    height, width = flow.shape[:2]
    _write(path, struct.pack("<fii", _FLO_MAGIC, width, height) + flow.astype("<f4").tobytes())


def read_pfm(path: Path) -> Float:
    """Return a `.pfm` file as `(H, W, 3)` ("PF") or `(H, W)` ("Pf") float32.

    Rows are stored bottom-up; a negative scale means little-endian. The scale's size is ignored,
    as everyone does. FlyingThings3D stores flow so, with an empty third channel.
    """
    lines = _contents(path).split(b"\n", 3)
    if lines[0].strip() not in (b"PF", b"Pf") or len(lines) < 4:
        raise UserError(f"{path}: not a .pfm file (it does not begin with PF or Pf)")
    try:
        width, height = (int(number) for number in lines[1].split())
        scale = float(lines[2])
    except ValueError:
        raise UserError(f"{path}: its header gives no size or scale") from None
    _check_size(path, height, width)
    shape = (height, width, 3) if lines[0].strip() == b"PF" else (height, width)
    expected = int(np.prod(shape)) * 4
    if len(lines[3]) != expected:
        raise UserError(
            f"{path}: {width}x{height} needs {expected} bytes of values, it has {len(lines[3])}"
        )
    values = np.frombuffer(lines[3], "<f4" if scale < 0 else ">f4").reshape(shape)
    _check_some_finite(path, values)
    return np.flipud(values).astype(np.float32)


def read_flo5(path: Path) -> Float:
    """Return the flow `(H, W, 2)` of Spring's `.flo5` file: HDF5 with one data set, `flow`.

    Unknown flow is left as it is stored (NaN in Spring's files). Needs h5py, which is optional.
    """
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise UserError(
            f"{path}: .flo5 files are read with h5py: pip install 'selfflow[spring]'"
        ) from None
    if not path.is_file():
        raise UserError(f"{path}: cannot be read (no such file)")
    try:
        with h5py.File(path, "r") as file:
            stored = file["flow"]
            shape = tuple(getattr(stored, "shape", ()))
            if len(shape) != 3 or shape[2] != 2 or stored.dtype.kind != "f":
                raise UserError(f"{path}: its data set `flow` is not (H, W, 2) of floats")
            _check_size(path, *shape[:2])
            flow = np.asarray(stored[()], np.float32)
    except KeyError:
        raise UserError(f"{path}: there is no data set `flow` in it") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a .flo5 file, or a broken one ({reason})") from None
    _check_some_finite(path, flow)
    return flow


def read_kitti_png(path: Path) -> tuple[Float, Bool]:
    """Return flow `(H, W, 2)` and where it is known `(H, W)` of KITTI's 16-bit PNG.

    Red and green are 64 u + 2¹⁵ and 64 v + 2¹⁵, blue is validity. Unknown flow is zero.
    """
    encoded = cv2.imdecode(np.frombuffer(_contents(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if encoded is None:
        raise UserError(f"{path}: not a PNG, or a broken one")
    if encoded.dtype != np.uint16 or encoded.ndim != 3 or encoded.shape[2] != 3:
        raise UserError(f"{path}: flow is a PNG of three 16-bit channels, this is another kind")
    valid: Bool = encoded[..., 0] > 0
    flow = np.where(valid[..., None], (encoded[..., :0:-1] - 2.0**15) / 64, 0)
    return flow.astype(np.float32), valid


def write_kitti_png(path: Path, flow: Float, valid: Bool | None = None) -> None:
    """Write flow `(H, W, 2)` as KITTI's 16-bit PNG, known where `valid` `(H, W)`.

    Values are rounded to 1/64 px and clipped to what 16 bits hold, -512 to 511.98 px; flow that is
    not finite is written as unknown.
    """
    _check_flow(flow)
    known = np.asarray(np.isfinite(flow).all(axis=-1))
    if valid is not None:
        known &= valid
    encoded = np.zeros((*flow.shape[:2], 3), np.uint16)
    scaled = np.where(known[..., None], flow, 0) * 64.0 + 2**15
    encoded[..., :0:-1] = np.clip(np.round(scaled), 0, 2**16 - 1) * known[..., None]
    encoded[..., 0] = known
    _write(path, cv2.imencode(".png", encoded)[1].tobytes())


def _check_flow(flow: Float) -> None:
    if flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise ValueError(f"flow is (H, W, 2) and not empty, got {flow.shape}")
