from pathlib import Path

import pytest

from representation.readout.dense.cache_plan import plan_cache
from representation.readout.dense.feature_cache import encoder_key
from representation.readout.dense.settings import DenseSettings


def settings(**values) -> DenseSettings:
    return DenseSettings(encoder="a", data="b", protocol="linear", **values)


def test_features_that_fit_are_kept_and_their_size_is_told(
    colors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path))
    encoder = colors(4)
    plan = plan_cache(settings(), encoder, (22, 30), 1000)
    assert plan.needed == 1000 * 6 * 6 * 8 * 2  # bytes of float16: channels, rows, columns
    assert plan.folder == tmp_path / "features"
    assert not plan.folder.exists()
    plan.make_room(encoder)
    assert [each.name for each in plan.folder.iterdir()] == [encoder_key(encoder)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"training": {"finetune": True, "learning_rates": (1,)}}, "fine-tuned"),
        ({"augmentation": {"flip": 0.5}}, "augmented"),
        ({"cache": {"keep": False}}, "cache.keep is false"),
        ({"cache": {"gib": 1e-4}}, "more than cache.gib"),
    ],
)
def test_features_that_are_not_kept_have_a_reason(colors, values: dict, reason: str) -> None:
    plan = plan_cache(settings(**values), colors(4), (22, 30), 1000)
    assert plan.folder is None
    assert reason in plan.line
