"""The storage of studies: reached through outages, named and kept without its password."""

import sys
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from test_study import opened

from autoflow.search import storage as storage_module
from autoflow.search.storage import PASSWORD, connect, shown, wait_for_storage, without_password
from autoflow.search.study import open_study
from selfflow.runs.errors import UserError


def test_a_storage_that_is_out_of_reach_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, asked = opened(tmp_path), []
    monkeypatch.setattr(storage_module, "PAUSE", 0.001)
    ask = study._storage.get_study_user_attrs

    def sometimes(study_id: int) -> dict[str, object]:
        asked.append(study_id)
        if len(asked) < 3:
            raise StorageInternalError
        return ask(study_id)

    monkeypatch.setattr(study._storage, "get_study_user_attrs", sometimes)
    wait_for_storage(study, StorageInternalError("gone"))
    assert len(asked) == 3
    monkeypatch.setattr(storage_module, "OUTAGE", 0)
    with pytest.raises(UserError, match=r"out of reach \(gone\)"):
        wait_for_storage(study, StorageInternalError("gone"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me"),
        ("mysql+pymysql://me:se/cret@host:1/db?a=b", "mysql+pymysql://me:***@host:1/db?a=b"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("nonsense", "nonsense"),
    ],
)
def test_passwords_are_not_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:s%40crt@host:5/db?a=b", "postgresql://me@host:5/db?a=b"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me@/db?host=/tmp/x", "postgresql://me@/db?host=/tmp/x"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("nonsense", "nonsense"),
    ],
)
def test_urls_are_kept_without_their_password(url: str, expected: str) -> None:
    assert without_password(url) == expected
    assert without_password(expected) == expected


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("mysql+pymysql://me@host/db", "mysql+pymysql://me:s%40me word@host/db"),
        ("mysql+pymysql://me:own@host/db", "mysql+pymysql://me:own@host/db"),
        ("postgresql://me@host/db", "postgresql+psycopg://me:s%40me word@host/db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_a_url_without_password_takes_that_of_the_environment(
    url: str, reached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        storage_module.optuna.storages, "RDBStorage", lambda url, **_: asked.append(url)
    )
    monkeypatch.setenv(PASSWORD, "s@me word")
    connect(url)
    monkeypatch.delenv(PASSWORD)
    connect(url)
    without = reached.replace(":s%40me word", "")
    assert asked == [reached, without]


def test_who_is_not_let_in_is_told_where_a_password_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("fe_sendauth: no password supplied")

    monkeypatch.setattr(storage_module.optuna.storages, "RDBStorage", refuse)
    with pytest.raises(UserError, match=PASSWORD):
        open_study("postgresql://me@localhost:1/db", "s-af", made_for={})
    with pytest.raises(UserError) as failed:
        open_study("postgresql://me:secret@localhost:1/db", "s-af", made_for={})
    assert PASSWORD not in str(failed.value)


def test_an_error_of_opening_names_no_password() -> None:
    with pytest.raises(UserError) as failed:
        open_study("postgresql+psycopg://me:secret@localhost:1/db", "s-af", made_for={})
    assert "secret" not in str(failed.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for url in ("postgresql://me@host/db", "postgresql+psycopg://me@host/db"):
        with pytest.raises(UserError, match=r"pip install 'selfflow\[postgresql\]'"):
            open_study(url, "s-af", made_for={})
