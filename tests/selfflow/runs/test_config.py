import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from selfflow.runs.config import Config, flatten, load, nested, option, replace_values, to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.parameter import parameter, parameter_range
from selfflow.runs.progress import Duration


class Motion(Config):
    zoom: float = parameter(1.0, 0.5, 2.0, unit="octaves", meaning="how far in")
    shift: tuple[float, float] = parameter_range((1, 2), 0, 10, unit="px", meaning="shift")


class Stage(Config):
    name: str = "first"
    motion: Motion = Motion()


class Settings(Config):
    steps: int = Field(100, description="steps in all")
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    budget: Duration | None = None
    data: Path | None = None
    sizes: tuple[int, ...] = ()
    motion: Motion = Motion()
    extra: Motion | None = None
    stages: tuple[Stage, ...] = ()


def written(folder: Path, text: str) -> Path:
    file = folder / "a.toml"
    file.write_text(text)
    return file


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "steps = 3\nsizes = [3]\n[motion]\nzoom = 1.5")
    settings = load(
        Settings,
        defaults={"steps": 2, "sizes": [2], "precision": "bfloat16", "motion.zoom": 0.7},
        file=file,
        values={"steps": 4, "device": "cpu", "precision": None},
        overrides=["steps=5", "motion.shift=[3, 4]", "steps=6"],
    )
    assert settings.steps == 6
    assert settings.sizes == (3,)
    assert settings.precision == "bfloat16"
    assert settings.device == "cpu"
    assert settings.motion == Motion(zoom=1.5, shift=(3, 4))


class Film(Config):
    motion: Motion = Motion(zoom=1.5)
    stage: Stage = Stage(name="film")


class Double(Config):
    film: Film = Film(motion=Motion(shift=(5, 6)))


def test_a_class_says_what_a_group_holds_where_a_part_of_it_is_given() -> None:
    settings = load(Film, overrides=["motion.shift=[3, 4]", "stage.motion.zoom=0.6"])
    assert settings.motion == Motion(zoom=1.5, shift=(3, 4))
    assert settings.stage == Stage(name="film", motion=Motion(zoom=0.6))
    assert load(Film, defaults={"motion.zoom": 0.7}).motion.zoom == 0.7
    assert load(Double, overrides=["film.stage.name='x'"]).film.motion == Motion(shift=(5, 6))


def test_nothing_given_is_the_defaults() -> None:
    assert load(Settings) == Settings()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("budget=1h30m", "budget", 5400.0),
        ("device=cuda:1", "device", "cuda:1"),
        ('device="cpu"', "device", "cpu"),
        ("sizes=[1, 2]", "sizes", (1, 2)),
        ("data=some/where", "data", Path("some/where")),
        ("extra.zoom=0.5", "extra", Motion(zoom=0.5)),
        ("budget=", "budget", None),
    ],
)
def test_overrides_are_toml_values_bare_words_or_nothing(
    text: str, name: str, value: object
) -> None:
    loaded = load(Settings, defaults={"budget": 60}, overrides=[text])
    assert getattr(loaded, name) == value


class Anything(Config):
    k: Any = 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "k="),
        ("cuda:1", "k=cuda:1"),
        ("1", 'k="1"'),
        ("", 'k=""'),
        (" a", 'k=" a"'),
        (True, "k=true"),
        (0.5, "k=0.5"),
        ([1, 2], "k=[1, 2]"),
        ([{"name": "kitti", "sparse": True}], 'k=[{name = "kitti", sparse = true}]'),
    ],
)
def test_an_option_gives_a_key_its_value_again(value: object, text: str) -> None:
    assert option("k", value) == text
    assert load(Anything, overrides=[text]).k == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("setps=1", "--set: unknown key setps; did you mean steps?"),
        ("motion.zom=1", "--set: unknown key motion.zom; did you mean motion.zoom?"),
        ("zoom=1", "--set: unknown key zoom; did you mean motion.zoom?"),
        ("xyzzy=1", "--set: unknown key xyzzy; known keys are steps, device, precision"),
        ("motion.zoom=3", "--set: motion.zoom = 3: input should be less than or equal to 2"),
        ("motion.zoom=nan", "--set: motion.zoom = nan: input should be a finite number"),
        ("motion.shift=[4, 3]", "motion.shift = [4, 3]: the range is turned round"),
        ("motion.shift=[4, 30]", "motion.shift = [4, 30]: the range must lie within 0 to 10"),
        ("motion=1", "--set: motion = 1: "),
        ("steps=many", "--set: steps = 'many': input should be a valid integer"),
        ("precision=int8", "precision = 'int8': input should be 'float32' or 'bfloat16'"),
        ("budget=soon", "budget = 'soon': a duration looks like 2h, 1h30m or 90s"),
        ("stages=[{nam='x'}]", "--set: unknown key stages.0.nam"),
        ("steps", "--set takes key=value, got 'steps'"),
    ],
)
def test_a_bad_override_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(Settings, overrides=[override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motion.zoom = 9", "a.toml: motion.zoom = 9: "),
        ("[motion]\nzooom = 1", "a.toml: unknown key motion.zooom; did you mean motion.zoom?"),
        ("[motion]\nshift = [2, 1]", "a.toml: motion.shift = [2, 1]: the range is turned round"),
        ("steps = = 1", "a.toml is not valid TOML: "),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(Settings, file=written(tmp_path, text), overrides=["steps=7"])
    assert message in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (binary, tmp_path, tmp_path / "missing.toml"):
        with pytest.raises(UserError, match=file.name):
            load(Settings, file=file)


def test_the_error_names_the_place_that_the_value_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, "steps = 3")
    with pytest.raises(UserError, match=r"^command line: steps"):
        load(Settings, file=file, values={"steps": "x"})


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().steps = 1  # type: ignore[misc]


settings_strategy = st.builds(
    Settings,
    steps=st.integers(-(2**40), 2**40),
    device=st.text(st.characters(exclude_categories=["Cs"])),
    budget=st.none() | st.floats(1e-3, 1e9),
    data=st.none() | st.text("abc/ \"'\\é", min_size=1).map(Path),
    sizes=st.lists(st.integers(0, 9)).map(tuple),
    motion=st.builds(
        Motion,
        zoom=st.floats(0.5, 2),
        shift=st.tuples(st.floats(0, 5), st.floats(5, 10)),
    ),
    extra=st.none() | st.builds(Motion),
    stages=st.lists(
        st.builds(Stage, name=st.text("ab\n\t#=[]"), motion=st.builds(Motion)), min_size=1
    ).map(tuple),
)


@given(settings_strategy)
def test_toml_brings_back_the_same_settings(settings: Settings) -> None:
    assert Settings.model_validate(tomllib.loads(to_toml(settings))) == settings


def test_toml_says_what_the_values_mean() -> None:
    lines = to_toml(Settings()).splitlines()
    assert "steps = 100                       # steps in all" in lines
    assert "zoom = 1.0                        # how far in (octaves, 0.5 to 2)" in lines
    assert "[motion]" in lines
    assert not any(line.startswith("budget") for line in lines)


def test_flatten_and_nested_are_inverse() -> None:
    flat = flatten(Settings(steps=3))
    assert flat["steps"] == 3
    assert flat["motion.shift"] == (1, 2)
    assert Settings.model_validate(nested(flat)) == Settings(steps=3)


def test_replace_values_validates_and_leaves_the_original() -> None:
    settings = Settings()
    other = replace_values(settings, {"steps": 4, "motion.zoom": 0.5})
    assert (other.steps, other.motion.zoom) == (4, 0.5)
    assert settings == Settings()
    with pytest.raises(UserError, match=r"motion\.zoom = 3"):
        replace_values(settings, {"motion.zoom": 3})
    with pytest.raises(UserError, match="did you mean steps"):
        replace_values(settings, {"stepps": 3})


def test_ends_of_a_pair_are_replaced_one_by_one_and_put_in_order() -> None:
    assert replace_values(Settings(), {"motion.shift.high": 7}).motion.shift == (1, 7)
    assert replace_values(Settings(), {"motion.shift.low": 7}).motion.shift == (2, 7)
    both = {"motion.shift.low": 6.0, "motion.shift.high": 5.0}
    assert replace_values(Settings(), both).motion.shift == (5, 6)
    with pytest.raises(UserError, match="within 0 to 10"):
        replace_values(Settings(), {"motion.shift.high": 11})
