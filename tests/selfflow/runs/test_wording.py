import pytest

from selfflow.runs.wording import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 held-out pairs"), (1, "1 held-out pair"), (2, "2 held-out pairs")]
)
def test_one_thing_is_singular(count: int, said: str) -> None:
    assert counted(count, "held-out pair") == said
