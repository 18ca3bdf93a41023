"""Sets of hyperparameters in files: one, or several to be mixed."""

from pathlib import Path

from pydantic import Field

from autoflow.hyperparameters import Hyperparameters
from selfflow.runs.config import Config, load, read_toml
from selfflow.runs.errors import UserError


class Mixture(Config):
    """Several sets to be mixed, the best first."""

    sets: tuple[Hyperparameters, ...] = Field((), description="sets of hyperparameters")


def read_sets(source: Path | str, top: int | None = None) -> list[Hyperparameters]:
    """Return the sets in a file, or in a search's run folder, or the default one for `"default"`.

    Args:
        source: a TOML file with one set, or with several as `[[sets]]`; a folder with `top3.toml`
            or `best.toml`; or `"default"`.
        top: the number of sets to return, the first ones; None for all.

    Raises:
        UserError: naming the file, and the key if one is unknown or its value impossible.
    """
    if str(source) == "default":
        return [Hyperparameters()]
    file = _file_of(Path(source), ("top3.toml", "best.toml"))
    if "sets" in read_toml(file):
        sets = list(load(Mixture, file=file).sets)
    else:
        sets = [load(Hyperparameters, file=file)]
    if not sets:
        raise UserError(f"{file}: holds no sets")
    if top is not None and not 1 <= top <= len(sets):
        raise UserError(f"{file}: has {len(sets)} sets, not {top}")
    return sets[:top]


def read_hyperparameters(source: Path | str) -> Hyperparameters:
    """Return one set: that of a file, the best of a search's run folder, or the default one."""
    if Path(source).is_dir():
        source = _file_of(Path(source), ("best.toml", "top3.toml"))
    return read_sets(source)[0]


def _file_of(source: Path, names: tuple[str, ...]) -> Path:
    """Return `source` itself, or the first file of those names in it if it is a folder."""
    if not source.is_dir():
        return source
    for name in names:
        if (source / name).is_file():
            return source / name
    raise UserError(f"{source}: holds neither {' nor '.join(names)}")
