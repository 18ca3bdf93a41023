"""The storage of studies: how it is reached, and how it is named without its password."""

import os
import random
import re
import time
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from selfflow.runs.errors import UserError

# Seconds from one sign of life of a running trial to the next, and without any until it is taken
# for dead: a storage that is restarted, or a machine that is busy, may take a minute.
HEARTBEAT, GRACE = 20, 120
# Seconds for which a storage may be out of reach, and from one look at it to the next.
OUTAGE, PAUSE = 600, 4
_MOST_WAITS = 10
# Of the environment: what a URL without a password is completed with.
PASSWORD = "SELFFLOW_STORAGE_PASSWORD"


def connect(url: str) -> optuna.storages.RDBStorage:
    """Return the storage at a URL; its tables are made if there are none.

    A URL with a user and no password gets the one in the environment, if there is one.

    Raises:
        Exception: of whatever kind SQLAlchemy and the drivers have; see `not_opened`.
    """
    if url.startswith("sqlite"):
        # Several processes write to one file; each waits for its turn.
        engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    else:
        # A server has some hundred connections for all workers, and may have been restarted.
        engine = {"pool_size": 1, "pool_pre_ping": True}

    def attempt() -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(
            _with_password(_with_driver(url)),
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
        )

    for _ in range(_MOST_WAITS):
        try:
            return attempt()
        except SQLAlchemyError as error:
            if not _is_being_made(error):
                raise
            time.sleep(random.uniform(0.1, 1.0))
    return attempt()


def wait_for_storage(study: optuna.Study, error: StorageInternalError) -> None:
    """Return once the storage of a study answers again, as after the restart of a server.

    Args:
        study: whose storage.
        error: how it failed.

    Raises:
        UserError: it does not within minutes.
    """
    end = time.monotonic() + OUTAGE
    while time.monotonic() < end:
        time.sleep(random.uniform(0.5, 1.5) * PAUSE)  # workers do not come back all at once
        with suppress(StorageInternalError):
            study.user_attrs  # noqa: B018 (asks the storage)
            return
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    raise UserError(f"the storage is out of reach ({reason}); the same command goes on") from None


def not_opened(storage: str, error: Exception) -> UserError:
    """Return the one line that says why `connect` failed."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, ImportError):
        reason = "its driver is not installed; PostgreSQL's is: pip install 'selfflow[postgresql]'"
    hint = ""
    if "password" in reason and without_password(storage) == storage and PASSWORD not in os.environ:
        hint = f"; a run folder keeps no password, put it into the URL or into ${PASSWORD}"
    return UserError(f"--storage {shown(storage)}: cannot be opened ({reason}){hint}")


def shown(storage: str) -> str:
    """Return a storage URL as it may be read by others, without its password."""
    url = _parsed(storage)
    if url is None or _without_password(url) == url:
        return storage
    if url.password is None:
        return without_password(storage)
    return _without_query_password(url).render_as_string(hide_password=True)


def without_password(storage: str) -> str:
    """Return a storage URL as it may be kept: the same, without its password if it has one."""
    url = _parsed(storage)
    if url is None or _without_password(url) == url:
        return storage
    return _without_password(url).render_as_string(hide_password=False)


def _without_password(url: URL) -> URL:
    kept = _without_query_password(url)
    return URL.create(
        kept.drivername, kept.username, None, kept.host, kept.port, kept.database, kept.query
    )


def _without_query_password(url: URL) -> URL:
    return url.difference_update_query(["password", "passwd"])


def _with_password(storage: str) -> str:
    url, password = _parsed(storage), os.environ.get(PASSWORD)
    if url is None or not password or not url.username or _without_password(url) != url:
        return storage
    return url.set(password=password).render_as_string(hide_password=False)


def _with_driver(url: str) -> str:
    """Return a URL that names the driver that comes with the extra `postgresql`."""
    return re.sub(r"^postgresql://", "postgresql+psycopg://", url)


def _parsed(storage: str) -> URL | None:
    try:
        return make_url(storage)
    except ArgumentError:
        return None


def _is_being_made(error: SQLAlchemyError) -> bool:
    """Return whether a storage could not be opened because others are making its tables now."""
    if isinstance(error, IntegrityError | ProgrammingError):
        return True
    return isinstance(error, OperationalError) and "already exists" in str(error)
