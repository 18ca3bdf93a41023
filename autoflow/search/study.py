"""The Optuna study: created, or opened where it was left, and checked."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

import optuna

from autoflow.search.storage import connect, not_opened, shown
from selfflow.runs.errors import UserError

MADE_FOR = "made_for"
# Characters of JSON in one attribute: MySQL's columns take 65,535 bytes, and a part of a text, as
# JSON once more, has two for each quotation mark.
LONGEST = 30_000
_PARTS = "parts"

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
            storage=connect(storage),
            direction="minimize",
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy's and the drivers' own kinds
        raise not_opened(storage, error) from None
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
        study = optuna.load_study(study_name=name, storage=connect(storage))
    except KeyError:
        return {}
    except Exception as error:
        raise not_opened(storage, error) from None
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
        return optuna.load_study(study_name=name, storage=connect(storage))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{shown(storage)}: study {name} cannot be opened ({reason})") from None


def keep(study: optuna.Study, name: str, content: Mapping[str, Any]) -> None:
    """Store an attribute of any length; what is too long for one lies in several, read by `kept`.

    Args:
        study: whose attribute.
        name: of the attribute, and the first word of those with its parts.
        content: as JSON has it.
    """
    text = json.dumps(content)
    if len(text) <= LONGEST:
        study.set_user_attr(name, content)
        return
    parts = [text[start : start + LONGEST] for start in range(0, len(text), LONGEST)]
    for number, part in enumerate(parts):
        study.set_user_attr(f"{name} {number}", part)
    study.set_user_attr(name, {_PARTS: len(parts)})  # last: who sees it finds all of them


def kept(study: optuna.Study, name: str) -> Any:
    """Return what `keep` has stored under a name, None if nothing."""
    attributes = study.user_attrs
    content = attributes.get(name)
    if not isinstance(content, dict) or set(content) != {_PARTS}:
        return content
    return json.loads("".join(attributes[f"{name} {n}"] for n in range(content[_PARTS])))


def digest(study: optuna.Study) -> str:
    """Return a short name of what a study was made for: another one's trainings differ."""
    text = json.dumps(study.user_attrs[MADE_FOR], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
