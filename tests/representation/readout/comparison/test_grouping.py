"""Which results belong together, and what they have in common."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from representation.readout.comparison.grouping import Spread, beside, grouped
from representation.readout.comparison.measured import data_name, find_results
from selfflow.runs.errors import UserError

Write = Callable[..., Path]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_mean_and_deviation_are_numpys(values: list[float]) -> None:
    spread = Spread(tuple(values))
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-9)
    if len(values) > 1:
        assert spread.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    else:
        assert spread.deviation is None


def groups_in(folder: Path) -> list[tuple[str, dict[str, object], tuple[float, ...]]]:
    results, _ = find_results([folder])
    return [
        (str(group.encoder["name"]), dict(group.changed), group.scores["J"].values)
        for group in grouped(results)
    ]


def test_seeds_of_readout_and_of_training_are_one_group(tmp_path: Path, result_in: Write) -> None:
    for seed, score in enumerate((0.2, 0.3, 0.4)):
        scores = {"J&F": score, "J": score, "F": score}
        result_in(tmp_path / f"random{seed}", seed=seed, scores=scores)
        ours = {"name": f"flowe-{seed}", "method": "flowe", "seed": seed, "weights": str(seed)}
        result_in(tmp_path / f"x{seed}", scores=scores, encoder=ours)
    assert groups_in(tmp_path) == [
        ("random", {}, (0.2, 0.3, 0.4)),
        ("flowe", {}, (0.2, 0.3, 0.4)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"temperature": 0.1}},
        {"protocol": "dino"},
        {"quick": True},
        {"data": {"name": "davis2017", "objects": 3}},
        {"data": {"name": "davis2016", "objects": 61}},
        {"encoder": {"architecture": "resnet50", "weights": "w"}},
        {"encoder": {"stride": 4}, "seed": 0},
        {"encoder": {"decoder": "fpn", "weights": "w"}},
        {"encoder": {"name": "flowe", "weights": "w"}},
        {"encoder": {"steps": 10, "weights": "w"}},
    ],
)
def test_what_differs_in_more_than_a_seed_is_kept_apart(
    other: dict[str, object], tmp_path: Path, result_in: Write
) -> None:
    result_in(tmp_path / "a")
    result_in(tmp_path / "b", **{"seed": 1, **other})
    assert [values for _, _, values in groups_in(tmp_path)] == [(0.4,), (0.4,)]


def test_device_and_pictures_decide_nothing(tmp_path: Path, result_in: Write) -> None:
    result_in(tmp_path / "a", settings={"device": "cpu"})
    result_in(tmp_path / "b", seed=1, settings={"device": "cuda", "data": "elsewhere/DAVIS"})
    assert groups_in(tmp_path) == [("random", {}, (0.4, 0.4))]


def test_a_number_that_is_not_the_trainings_seed_stays_in_the_name(
    tmp_path: Path, result_in: Write
) -> None:
    result_in(tmp_path / "a", encoder={"name": "cacl-t3", "seed": 0, "weights": "3"})
    result_in(tmp_path / "b", encoder={"name": "cacl-t4", "seed": 0, "weights": "4"})
    result_in(tmp_path / "c", encoder={"name": "timm/vit_small_patch16_224", "weights": "5"})
    result_in(tmp_path / "d", encoder={"name": "/models/byol_s2.safetensors", "seed": 2})
    names = [name for name, _, _ in groups_in(tmp_path)]
    assert names == ["cacl-t3", "cacl-t4", "timm/vit_small_patch16_224", "byol"]


def test_what_is_changed_is_named(tmp_path: Path, result_in: Write) -> None:
    result_in(tmp_path / "a", settings={"temperature": 0.1, "radius": None})
    result_in(tmp_path / "b", quick=True)
    assert [changed for _, changed, _ in groups_in(tmp_path)] == [
        {"temperature": 0.1, "radius": None},
        {},
    ]


def test_of_repeats_the_last_one_counts(tmp_path: Path, result_in: Write) -> None:
    for name, started, score in (("a", "2026-02-01", 0.7), ("b", "2026-01-01", 0.2)):
        result_in(tmp_path / name, scores={"J": score}, started=started)
    results, notes = find_results([tmp_path])
    assert [each.scores["J"] for each in results] == [0.7]
    assert notes == ["left out: 1 that repeat others with the same seed"]


def test_results_are_found_once_by_file_folder_and_parent(tmp_path: Path, result_in: Write) -> None:
    run = result_in(tmp_path / "runs" / "a")
    result_in(tmp_path / "runs" / "deeper" / "b", seed=1)
    results, notes = find_results([run / "result.json", run, tmp_path])
    assert (len(results), notes) == (2, [])


def test_what_is_no_result_is_an_error(tmp_path: Path, result_in: Write) -> None:
    with pytest.raises(UserError, match="holds no result"):
        find_results([tmp_path])
    run = result_in(tmp_path / "a")
    file = run / "result.json"
    for text, reason in (
        ("{", "cannot read"),
        ("[]", "JSON object"),
        ("{}", "it lacks"),
        (file.read_text().replace('"J": 0.4', '"J": null'), "lacks numbers"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=reason):
            find_results([file])


def test_data_sets_are_known_by_their_folders() -> None:
    assert data_name("cityscapes") == data_name("/data/Cityscapes/") == "cityscapes"
    assert data_name("VOCdevkit") == data_name("some/VOC2012") == "voc"


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"protocol": "vader"}, (52.4, 55.1)),
        ({"protocol": "vader", "settings": {"side": 480}}, (54.7, 58.4)),
        ({"protocol": "vader", "settings": {"device": "cuda"}}, (52.4, 55.1)),
        ({"protocol": "vader", "settings": {"side": 400}}, None),
        ({"protocol": "vader", "settings": {"side": 480, "neighbours": 20}}, None),
        ({"protocol": "vader", "data": {"name": "davis2017", "objects": 5}}, None),
        ({"protocol": "vader", "data": {"name": "davis2016", "objects": 61}}, None),
        ({"protocol": "vader", "quick": True}, None),
        ({"protocol": "dino"}, None),
    ],
)
def test_published_figures_are_shown_where_the_setting_is_theirs(
    about: dict[str, object], expected: tuple[float, float] | None, tmp_path: Path, result_in: Write
) -> None:
    result_in(tmp_path, **about)
    results, _ = find_results([tmp_path])
    rows = [row for rows in beside(results).values() for row in rows]
    found = [(row.scores["J"], row.scores["F"]) for row in rows if row.model == "VADeR"]
    assert found == ([] if expected is None else [expected])
    assert not (rows and expected is None)


def test_crws_figures_stand_beside_its_protocol(tmp_path: Path, result_in: Write) -> None:
    result_in(tmp_path)
    (rows,) = beside(find_results([tmp_path])[0]).values()
    assert [(row.model, row.scores) for row in rows] == [
        ("CRW", {"J&F": 67.6, "J": 64.6, "F": 70.6})
    ]
