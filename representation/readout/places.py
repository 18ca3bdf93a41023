"""Where the labelled data sets of the readouts are found: a name under the data root, or a path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from selfflow.datasets import Dataset, candidate_folders, data_root
from selfflow.runs.errors import UserError


class Layout(Protocol):
    """How a labelled data set lies on disk."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Patterns; a folder in which one of them is found has this layout."""

    @property
    def dataset(self) -> Dataset:
        """Under which names its folder is looked for, and where people get it."""


L = TypeVar("L", bound=Layout)


def find_place(
    name_or_path: str, layouts: Mapping[str, L], given_root: Path | None = None
) -> tuple[L | None, Path]:
    """Return the layout and the folder of a data set.

    A path that is in no known layout gives None: the task may read any folder. A name that is known
    comes before a folder of the same name in the working directory.

    Raises:
        UserError: there is no such folder; says what was looked for, where, and where people get
            it.
    """
    layout = layouts.get(name_or_path)
    path = Path(name_or_path)
    if layout is None:
        if path.is_dir():
            return next((each for each in layouts.values() if _matches(each, path)), None), path
        known = f", nor one of {', '.join(layouts)}" if layouts else ""
        raise UserError(f"no data {name_or_path!r}: it is no folder{known}")
    root, origin = data_root(given_root)
    for folder in candidate_folders(root, layout.dataset):
        if _matches(layout, folder):
            return layout, folder
    raise UserError(
        f"data set {name_or_path} not found: looked for a folder "
        f"{' or '.join(layout.dataset.folders)} (any case) holding {' or '.join(layout.marks)} "
        f"in {root} ({origin}); get it from {layout.dataset.source}"
    )


def _matches(layout: Layout, folder: Path) -> bool:
    return any(next(folder.glob(mark), None) is not None for mark in layout.marks)
