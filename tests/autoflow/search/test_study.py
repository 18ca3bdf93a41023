import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from autoflow.search import study as study_module
from autoflow.search.study import (
    check_study,
    digest,
    open_study,
    read_study,
    shown,
    wait_for_storage,
)
from selfflow.runs.errors import UserError


def opened(path: Path, **made_for: object) -> optuna.Study:
    url = f"sqlite:///{path / 'study.db'}"
    return open_study(url, "s-af", made_for={"target": "sample", **made_for})


@pytest.mark.parametrize(
    ("made_for", "named"),
    [
        ({"target": "davis"}, "target sample, not davis"),
        ({"space": {"a": [0, 1]}}, "space"),
        ({"base network": "12ab"}, "base network None, not 12ab"),
    ],
)
def test_a_study_made_for_something_else_is_refused(
    tmp_path: Path, made_for: dict[str, object], named: str
) -> None:
    opened(tmp_path)
    with pytest.raises(UserError, match=named):
        opened(tmp_path, **made_for)


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage"):
        opened(tmp_path / "missing")


def test_looking_at_a_study_makes_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(UserError, match="study s-af cannot be opened"):
        read_study(url, "s-af")
    opened(tmp_path, space={"a": [0, 1]})
    assert read_study(url, "s-af").user_attrs["made_for"]["space"] == {"a": [0, 1]}


def test_studies_made_for_different_things_have_different_digests(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    one, same = opened(tmp_path / "a", space=1, seed=2), opened(tmp_path / "b", seed=2, space=1)
    other = opened(tmp_path / "c", space=1, seed=3)
    assert digest(one) == digest(same) != digest(other)


def test_what_a_study_was_made_for_is_known_before_it_is_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert check_study(url, "s-af", {"target": "sample"}) == {}
    assert optuna.get_all_study_names(url) == []
    opened(tmp_path, space={"a": [0, 1]})
    known = check_study(url, "s-af", {"target": "sample"})
    assert known == {"target": "sample", "space": {"a": [0, 1]}}
    with pytest.raises(UserError, match="target sample, not davis"):
        check_study(url, "s-af", {"target": "davis"})
    with pytest.raises(UserError, match="cannot be opened"):
        check_study(f"sqlite:///{tmp_path}/missing/study.db", "s-af", {})


def test_a_dashboard_is_told_what_the_values_are(tmp_path: Path) -> None:
    assert opened(tmp_path).metric_names == ["Ω"]


@pytest.mark.slow
def test_many_may_open_a_new_study_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        studies = list(pool.map(opened, [tmp_path] * 6))
    assert {study._study_id for study in studies} == {1}


def test_a_storage_that_is_out_of_reach_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, asked = opened(tmp_path), []
    monkeypatch.setattr(study_module, "PAUSE", 0.001)
    ask = study._storage.get_study_user_attrs

    def sometimes(study_id: int) -> dict[str, object]:
        asked.append(study_id)
        if len(asked) < 3:
            raise StorageInternalError
        return ask(study_id)

    monkeypatch.setattr(study._storage, "get_study_user_attrs", sometimes)
    wait_for_storage(study, StorageInternalError("gone"))
    assert len(asked) == 3
    monkeypatch.setattr(study_module, "OUTAGE", 0)
    with pytest.raises(UserError, match=r"out of reach \(gone\)"):
        wait_for_storage(study, StorageInternalError("gone"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://me:***@host/db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("nonsense", "nonsense"),
    ],
)
def test_passwords_are_not_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_an_error_of_opening_names_no_password() -> None:
    with pytest.raises(UserError) as failed:
        open_study("postgresql+psycopg://me:secret@localhost:1/db", "s-af", made_for={})
    assert "secret" not in str(failed.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for url in ("postgresql://me@host/db", "postgresql+psycopg://me@host/db"):
        with pytest.raises(UserError, match=r"pip install 'selfflow\[postgresql\]'"):
            open_study(url, "s-af", made_for={})
