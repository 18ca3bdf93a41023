"""The Optuna study: created, or opened where it was left, and checked."""

import hashlib
import json
import random
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy import make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from selfflow.runs.errors import UserError

MADE_FOR = "made_for"
# Seconds from one sign of life of a running trial to the next, and without any until it is taken
# for dead: a storage that is restarted, or a machine that is busy, may take a minute.
HEARTBEAT, GRACE = 20, 120
# Seconds for which a storage may be out of reach, and from one look at it to the next.
OUTAGE, PAUSE = 600, 4
_MOST_WAITS = 10

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(storage: str, name: str, *, made_for: Mapping[str, Any]) -> optuna.Study:
    """Create a study, or open it where it was left.

    Args:
        storage: an Optuna storage URL.
        name: of the study in its storage.
        made_for: what trials of one study have in common, such as target and search space.

    Raises:
        UserError: no such storage, or its study was made for something else.
    """
    try:
        study = optuna.create_study(
            study_name=name,
            storage=_storage(storage),
            direction="minimize",
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy's and the drivers' own kinds
        raise _not_opened(storage, error) from None
    wanted = json.loads(json.dumps(made_for))
    known = study.user_attrs.get(MADE_FOR)
    if known is None:
        study.set_metric_names(["Ω"])
        study.set_user_attr(MADE_FOR, wanted)
    else:
        _check_same(name, known, wanted)
    return study


def check_study(storage: str, name: str, made_for: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study was made for; nothing if there is none of that name yet.

    Args:
        storage: an Optuna storage URL.
        name: of the study in its storage.
        made_for: what is known of what it would be made for.

    Raises:
        UserError: no such storage, or the study was made for something else.
    """
    try:
        study = optuna.load_study(study_name=name, storage=_storage(storage))
    except KeyError:
        return {}
    except Exception as error:
        raise _not_opened(storage, error) from None
    known: dict[str, Any] = study.user_attrs.get(MADE_FOR, {})
    wanted = json.loads(json.dumps(made_for))
    if known:
        _check_same(name, {key: known.get(key) for key in wanted}, wanted)
    return known


def read_study(storage: str, name: str) -> optuna.Study:
    """Open a study to look at it, whatever the settings say by now.

    Raises:
        UserError: no such storage or study.
    """
    try:
        return optuna.load_study(study_name=name, storage=_storage(storage))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{shown(storage)}: study {name} cannot be opened ({reason})") from None


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


def digest(study: optuna.Study) -> str:
    """Return a short name of what a study was made for: another one's trainings differ."""
    text = json.dumps(study.user_attrs[MADE_FOR], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _storage(url: str) -> optuna.storages.RDBStorage:
    if url.startswith("sqlite"):
        # Several processes write to one file; each waits for its turn.
        engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    else:
        # A server has some hundred connections for all workers, and may have been restarted.
        engine = {"pool_size": 1, "pool_pre_ping": True}

    def connect() -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(
            _with_driver(url),
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
        )

    for _ in range(_MOST_WAITS):
        try:
            return connect()
        except SQLAlchemyError as error:
            if not _is_being_made(error):
                raise
            time.sleep(random.uniform(0.1, 1.0))
    return connect()


def _with_driver(url: str) -> str:
    """Return a URL that names the driver that comes with the extra `postgresql`."""
    known = "postgresql://"
    return f"postgresql+psycopg://{url.removeprefix(known)}" if url.startswith(known) else url


def _is_being_made(error: SQLAlchemyError) -> bool:
    """Return whether a storage could not be opened because others are making its tables now."""
    if isinstance(error, IntegrityError | ProgrammingError):
        return True
    return isinstance(error, OperationalError) and "already exists" in str(error)


def shown(storage: str) -> str:
    """Return a storage URL as it may be read by others, without its password."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage


def _not_opened(storage: str, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, ImportError):
        reason = "its driver is not installed; PostgreSQL's is: pip install 'selfflow[postgresql]'"
    return UserError(f"--storage {shown(storage)}: cannot be opened ({reason})")


def _check_same(name: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in dict.fromkeys([*known, *wanted]):
        before, now = known.get(key), wanted.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            key = f"{key}: {next(k for k in {**before, **now} if before.get(k) != now.get(k))}"
        elif max(len(str(before)), len(str(now))) < 40:
            key = f"{key} {before}, not {now}"
        raise UserError(f"study {name} was made for another {key}; choose another --out or --name")
