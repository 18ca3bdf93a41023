"""Tables that grow by a row at a time."""

import math
from pathlib import Path

import pytest

from selfflow.rowfile import RowFile, read_rows
from selfflow.runs.errors import UserError

COLUMNS = ("name", "value")


def fill(path: Path, count: int) -> RowFile:
    table = RowFile(path, COLUMNS)
    for number in range(count):
        table.append({"name": f"a, {number}", "value": number / 3})
    return table


def test_rows_come_back_exactly_and_those_added_later_are_not_among_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    assert fill(path, 3).next() is None
    table = RowFile(path, COLUMNS)
    table.append({"name": "late", "value": True})
    for number in range(3):
        row = table.next()
        assert row is not None
        assert (row["name"], float(row["value"])) == (f"a, {number}", number / 3)
    assert table.next() is None
    assert [row["value"] for row in read_rows(path, COLUMNS)][3:] == ["1"]


@pytest.mark.parametrize("lost", range(1, 26))
def test_a_torn_line_is_dropped_wherever_it_was_torn(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "table.csv"
    fill(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    table = RowFile(path, COLUMNS)
    kept = 0
    while table.next() is not None:
        kept += 1
    assert kept == (1 if lost < len(whole) - whole[:-1].rindex(b"\n") else 0)
    for number in range(kept, 2):
        table.append({"name": f"a, {number}", "value": number / 3})
    assert path.read_bytes() == whole


def test_a_file_without_a_whole_line_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("nam")
    table = RowFile(path, COLUMNS)
    assert table.next() is None
    table.append({"name": "x", "value": math.nan})
    assert path.read_text() == "name,value\nx,\n"


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("who,what\n1,2\n")
    with pytest.raises(UserError, match=r"table\.csv does not have the columns name, value"):
        RowFile(path, COLUMNS).next()
    path.write_text("name,value\n1\n")
    with pytest.raises(UserError, match=r"table\.csv, line 2"):
        RowFile(path, COLUMNS).next()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("dear")
    with pytest.raises(UserError, match=r"note.table\.csv"):
        RowFile(tmp_path / "note" / "table.csv", COLUMNS)
