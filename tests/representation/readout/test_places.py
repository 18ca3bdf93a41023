from dataclasses import dataclass, field
from pathlib import Path

import pytest

from representation.readout.places import find_place
from selfflow.datasets import Dataset
from selfflow.runs.errors import UserError


@dataclass(frozen=True)
class Known:
    marks: tuple[str, ...] = ("images/*.png",)
    dataset: Dataset = field(default_factory=lambda: Dataset(("mydata",), "https://example.org"))


LAYOUTS = {"mine": Known()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "My-Data" / "images").mkdir(parents=True)
    (tmp_path / "My-Data" / "images" / "a.png").touch()
    return tmp_path


def test_a_name_is_looked_for_under_the_data_root(root: Path):
    assert find_place("mine", LAYOUTS, root) == (LAYOUTS["mine"], root / "My-Data")


def test_a_path_in_a_known_layout_is_recognised(root: Path):
    assert find_place(str(root / "My-Data"), LAYOUTS) == (LAYOUTS["mine"], root / "My-Data")
    assert find_place(str(root), LAYOUTS) == (None, root)


def test_what_is_missing_is_said_with_where_and_whence(tmp_path: Path):
    with pytest.raises(UserError, match=r"mydata .*images/\*\.png.*--data-root.*example\.org"):
        find_place("mine", LAYOUTS, tmp_path)
    with pytest.raises(UserError, match="no data 'nowhere': it is no folder, nor one of mine"):
        find_place("nowhere", LAYOUTS, tmp_path)
