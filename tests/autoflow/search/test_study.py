import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.settings import DEVICE_DEFAULTS, SearchSettings
from autoflow.search.study import (
    LONGEST,
    check_study,
    digest,
    keep,
    kept,
    open_study,
    read_study,
)
from autoflow.space import searched
from selfflow.runs.config import load
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


# Bytes of MySQL's TEXT, in which Optuna keeps an attribute as JSON, on any storage but in full.
COLUMN = 65_535


def longest_attribute(study: optuna.Study) -> int:
    return max(len(json.dumps(value).encode()) for value in study.user_attrs.values())


@pytest.mark.parametrize("count", [0, 1, 400, 5000])
def test_lists_of_any_length_fit_the_columns_of_each_storage(tmp_path: Path, count: int) -> None:
    study = opened(tmp_path)
    pairs = [[f'"Sequenz \u00fc" {n}', n, n + 1, n / 7] for n in range(count)]
    content = {"target": "davis", "side": 128, "pairs": pairs}
    assert kept(study, "pairs") is None
    keep(study, "pairs", content)
    assert kept(study, "pairs") == content
    assert kept(opened(tmp_path), "pairs") == content
    assert longest_attribute(study) <= COLUMN


def test_parts_of_nothing_but_quotation_marks_fit(tmp_path: Path) -> None:
    study = opened(tmp_path)
    keep(study, "pairs", {"pairs": '"' * 3 * LONGEST})
    assert longest_attribute(study) <= COLUMN
    assert kept(study, "pairs") == {"pairs": '"' * 3 * LONGEST}


def test_a_list_that_is_half_written_is_not_there_yet(tmp_path: Path) -> None:
    study = opened(tmp_path)

    def killed(name: str, value: object) -> None:
        if name == "pairs":
            raise KeyboardInterrupt
        optuna.Study.set_user_attr(study, name, value)

    study.set_user_attr = killed
    with pytest.raises(KeyboardInterrupt):
        keep(study, "pairs", {"pairs": ["x" * LONGEST] * 3})
    assert kept(study, "pairs") is None


def test_what_a_study_was_made_for_fits_the_columns_of_each_storage() -> None:
    settings = load(SearchSettings, defaults=DEVICE_DEFAULTS["cuda"])
    space = searched(Hyperparameters())
    settings = settings.model_copy(update={"only": tuple(space)})
    ranges = {name: [each.low, each.high] for name, each in space.items()}
    made_for = settings.made_for() | {"space": ranges}
    assert len(json.dumps(made_for).encode()) < COLUMN / 2
