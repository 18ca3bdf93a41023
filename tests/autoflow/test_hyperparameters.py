import pytest

from autoflow.hyperparameters import Hyperparameters
from autoflow.sets import Mixture, read_hyperparameters, read_sets
from selfflow.augment import Augmentation
from selfflow.runs.config import replace_values, to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import parameters


def test_every_hyperparameter_has_meaning_unit_and_range():
    known = parameters(Hyperparameters)
    assert len(known) > 60
    for one in known.values():
        assert one.meaning
        assert one.unit
        assert one.low <= one.default <= one.high
        assert one.low < one.high


def test_augmentation_is_taken_over_as_it_is_declared():
    own = parameters(Augmentation)
    taken = {n: p for n, p in parameters(Hyperparameters).items() if n.startswith("augmentation.")}
    assert {n.removeprefix("augmentation.") for n in taken} == set(own)


def test_a_set_survives_its_file(tmp_path):
    changed = replace_values(Hyperparameters(), {"layers.size": 0.3, "textures.zoom": (1.0, 2.0)})
    (tmp_path / "one.toml").write_text(to_toml(changed))
    assert read_hyperparameters(tmp_path / "one.toml") == changed
    assert read_sets(tmp_path / "one.toml") == [changed]
    assert read_hyperparameters("default") == Hyperparameters()


def test_mixed_sets_and_run_folders(tmp_path):
    sets = [replace_values(Hyperparameters(), {"layers.size": s}) for s in (0.1, 0.2, 0.3)]
    (tmp_path / "top3.toml").write_text(to_toml(Mixture(sets=tuple(sets))))
    (tmp_path / "best.toml").write_text(to_toml(sets[0]))
    assert read_sets(tmp_path) == sets
    assert read_sets(tmp_path, top=2) == sets[:2]
    assert read_hyperparameters(tmp_path) == sets[0]
    assert read_hyperparameters(tmp_path / "top3.toml") == sets[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[layers]\nsizes = 0.2", "layers.sizes"),
        ("[layers]\nsize = 7", "layers.size"),
        ("[textures]\nzoom = [2.0, 1.0]", "turned round"),
        ("[layers]\ncount = [5, 2]", "turned round"),
        ("[layers\nsize = 1", "bad.toml"),
        ("sets = []", "holds no sets"),
    ],
)
def test_mistakes_in_a_file_are_one_line_with_its_name_and_the_key(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UserError) as error:
        read_hyperparameters(tmp_path / "bad.toml")
    assert message in str(error.value)
    assert "bad.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_sets_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.toml"):
        read_sets(tmp_path / "nothing.toml")
    with pytest.raises(UserError, match="holds neither"):
        read_hyperparameters(tmp_path)
    (tmp_path / "best.toml").write_text(to_toml(Hyperparameters()))
    with pytest.raises(UserError, match="has 1 sets, not 3"):
        read_sets(tmp_path, top=3)
