"""A table in a file that grows by a row at a time, and goes on where it was stopped."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfflow.runs.errors import UserError


class RowFile:
    """A CSV file that is read from its beginning and appended to at its end.

    Nothing but the row at hand is in memory. A last line that was cut off by a kill is dropped. The
    file is made with its first row.

    Args:
        path: of the file.
        columns: their names.

    Raises:
        UserError: the file has other columns, or cannot be read or written.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        end = _drop_torn_line(path)
        self._stored = read_rows(path, columns, end) if end else iter(())

    def next(self) -> dict[str, str] | None:
        """Return the next of the rows that were there in the beginning; None after the last."""
        return next(self._stored, None)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it is in the file when this returns."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow({key: _text(value) for key, value in row.items()})
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error


def read_rows(
    path: Path, columns: Sequence[str], end: int | None = None
) -> Iterator[dict[str, str]]:
    """Yield the rows of a file, or of its first `end` bytes, one at a time.

    Raises UserError where its columns are others.
    """
    end = path.stat().st_size if end is None else end
    with path.open("rb") as file:

        def lines() -> Iterator[str]:
            while file.tell() < end and (line := file.readline()):
                yield line.decode("utf-8", "replace")

        reader = csv.DictReader(lines())
        if reader.fieldnames != list(columns):
            raise UserError(f"{path} does not have the columns {', '.join(columns)}")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: not a row of the table")
            yield row


def _text(value: Any) -> str:
    """Return a value so that it is read back as it was: empty for NaN, 1 or 0 for a bool."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return str(value)


def _drop_torn_line(path: Path) -> int:
    """Cut off what follows the last end of a line; return the size that is left."""
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - 4096)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            file.truncate(end)
            return end
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise UserError(f"cannot use {path}: {error.strerror or error}") from error
