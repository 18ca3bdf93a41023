import json
from pathlib import Path

import pytest

from representation.readout.classification import ClassificationSettings
from representation.readout.result import RESULT, check_encoder, finished, read_result, write_result
from representation.readout.task import Outcome
from selfflow.runs.environment import environment
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run

ENCODER = {"name": "random", "weights": "0123"}


def settings(**changes: object) -> ClassificationSettings:
    return ClassificationSettings.model_validate({"encoder": "random", "data": "d", **changes})


def write(folder: Path, **changes: object) -> dict:
    chosen = settings(**changes)
    with Run.open(folder, "readout classification", chosen) as run:
        outcome = Outcome({"knn": 0.5}, {"train": 3}, {"more": [1, 2]})
        made_with = environment("readout classification", chosen.seed)
        return write_result(run, "classification", chosen, ENCODER, outcome, 1.23, made_with)


def test_a_result_says_all_that_decided_the_numbers(tmp_path: Path):
    result = write(tmp_path / "run", seed=4, crop=32)
    assert json.loads((tmp_path / "run" / RESULT).read_text()) == json.loads(json.dumps(result))
    for found in (read_result(tmp_path / "run"), read_result(tmp_path / "run" / RESULT)):
        assert found["task"] == "classification"
        assert found["scores"] == {"knn": 0.5}
        assert found["settings"]["crop"] == 32
        assert found["seed"] == 4
        assert found["encoder"] == ENCODER
        assert {"versions", "commit", "command"} <= found["environment"].keys()


def test_only_the_same_settings_are_finished(tmp_path: Path):
    assert finished(tmp_path / "run", settings()) is None
    write(tmp_path / "run")
    found = finished(tmp_path / "run", settings(device="cpu"))
    assert found is not None
    assert found["scores"] == {"knn": 0.5}
    assert finished(tmp_path / "run", settings(neighbours=3)) is None


def test_a_score_that_is_no_number_is_no_result(tmp_path: Path):
    with Run.open(tmp_path / "run", "readout classification", settings()) as run:
        outcome = Outcome({"knn": float("nan")}, {})
        with pytest.raises(UserError, match="knn came out as no finite number"):
            write_result(run, "classification", settings(), ENCODER, outcome, 1.0, {})
    assert not (tmp_path / "run" / RESULT).exists()


def test_what_is_no_result_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no result"):
        read_result(tmp_path)
    (tmp_path / RESULT).write_text('{"task": "x"}')
    with pytest.raises(UserError, match="lacks encoder, protocol, scores, settings"):
        read_result(tmp_path)


def test_other_weights_of_the_same_name_are_refused(tmp_path: Path):
    check_encoder(tmp_path, ENCODER)
    (tmp_path / "encoder.json").write_text(json.dumps(ENCODER))
    check_encoder(tmp_path, {**ENCODER, "more": 1})
    with pytest.raises(UserError, match="reads out other weights than random has now"):
        check_encoder(tmp_path, {**ENCODER, "weights": "4567"})
