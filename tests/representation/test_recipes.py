import re
from pathlib import Path

import pytest

from representation.method import Method
from representation.methods import METHODS
from representation.optimizer import peak_rate
from representation.pretrain import method_class
from representation.settings import DEVICE_DEFAULTS, PretrainSettings
from selfflow.runs.config import load, read_toml

RECIPES = Path(__file__).parents[2] / "configs" / "pretrain"


def method_of(recipe: Path) -> type[Method]:
    return method_class(str(read_toml(recipe)["method"]))


def published(name: str) -> tuple[PretrainSettings, PretrainSettings]:
    """Return a method's published recipe, and its defaults."""
    settings = METHODS[name].Settings
    return load(settings, file=RECIPES / f"{name}.toml"), settings()


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_valid(recipe: Path):
    settings = load(method_of(recipe).Settings, file=recipe)
    if recipe.stem not in ("quick", "demo"):
        assert re.sub("-(gpu|quick)$", "", recipe.stem) == settings.method
    if recipe.stem.endswith("-gpu"):
        assert settings.loop.precision == "bfloat16"


@pytest.mark.parametrize("name", METHODS)
def test_quick_recipes_are_what_a_cpu_does_by_itself(name: str):
    method = METHODS[name]
    defaults = {**DEVICE_DEFAULTS["cpu"], **method.device_defaults["cpu"]}
    quick = load(method.Settings, file=RECIPES / f"{name}-quick.toml")
    by_itself = load(method.Settings, values={"method": name}, defaults=defaults)
    # A probe only watches; a recipe leaves it to the device.
    assert quick.model_dump(exclude={"probe"}) == by_itself.model_dump(exclude={"probe"})


@pytest.mark.parametrize(
    "name", ["byol", "simclr", "moco", "vader", "cacl", "multisiam", "multisiam-moco"]
)
def test_published_recipes_are_the_defaults_but_for_the_data(name: str):
    recipe, defaults = published(name)
    data = {"method", "frames", "optimizer", "loop"}
    assert recipe.model_dump(exclude=data) == defaults.model_dump(exclude=data)
    warm = recipe.optimizer.warmup
    assert recipe.optimizer == defaults.optimizer.model_copy(update={"warmup": warm})


def test_published_batches_rates_and_lengths():
    """A step's images, the peak learning rate, epochs of the data set, epochs of warm-up."""
    imagenet, waymo = 1_281_167, 790_000
    for name, images, processes, batch, rate, epochs, warmup in (
        ("byol", imagenet, 1, 4096, 3.2, 1000, 10),
        ("simclr", imagenet, 32, 4096, 4.8, 100, 10),
        ("moco", imagenet, 1, 256, 0.03, 200, 0),
        ("vader", imagenet, 1, 128, 3e-3, 600, 0),
        ("multisiam", waymo, 1, 1024, 4.0, 325, 10),
        ("multisiam-moco", waymo, 1, 256, 0.03, 325, 0),
    ):
        recipe, _ = published(name)
        assert recipe.frames.pairs == images
        assert recipe.frames.batch_size * recipe.loop.accumulate * processes == batch
        assert peak_rate(recipe) * processes == pytest.approx(rate)
        assert recipe.loop.steps * batch / images == pytest.approx(epochs, rel=1e-3)
        assert recipe.optimizer.warmup * batch / images == pytest.approx(warmup, rel=1e-3)


def test_flowe_is_published_for_frames_of_720_lines():
    """FlowE's own zoom is of BDD100K's frames enlarged to 1080 lines."""
    recipe, defaults = published("flowe")
    zoom = tuple(1080 / 720 * end for end in defaults.views.zoom)  # type: ignore[attr-defined]
    assert recipe.views == defaults.views.model_copy(update={"zoom": zoom})
    assert recipe.optimizer == defaults.optimizer
    assert recipe.loop.accumulate * recipe.frames.batch_size == 128
