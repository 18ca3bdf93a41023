"""The gallery: each shape and effect by itself, off and at three strengths."""

from collections.abc import Mapping
from dataclasses import dataclass

from autoflow.hyperparameters import Hyperparameters
from autoflow.space import Value, at
from selfflow.runs.config import replace_values
from selfflow.runs.parameter import parameters

STRENGTHS = ("off", "weak", "medium", "strong")
_SHARES = (1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True)
class Exhibit:
    """One thing that a gallery shows.

    Attributes:
        title: what it is called.
        switch: the probability that turns it on, 0 when it is off.
        amount: the parameter that is set to a third, two thirds and the whole of its range; the
            switch itself where a thing has no strength but how often it occurs.
        off: the value of `amount` when it is off; its lowest for things without a switch.
        context: further values that are needed to see it.
    """

    title: str
    switch: str | None = None
    amount: str | None = None
    strong_is_low: bool = False
    context: Mapping[str, Value] | None = None


EXHIBITS = (
    Exhibit("ellipses", "shapes.ellipse"),
    Exhibit("irregular corners", amount="shapes.irregularity"),
    Exhibit("spikes", amount="shapes.spikiness"),
    Exhibit("curved edges", "shapes.curved"),
    Exhibit("composites", "shapes.composite"),
    Exhibit("holes", "shapes.hole", "shapes.hole_size"),
    Exhibit("thin structures", "shapes.thin", "shapes.thinness", strong_is_low=True),
    Exhibit("soft edges", "effects.soft_edges", "effects.softness"),
    Exhibit("defocus", "effects.defocus", "effects.defocus_radius"),
    Exhibit("motion blur", "effects.motion_blur", "effects.shutter"),
    Exhibit("fog", "effects.fog", "effects.fog_density"),
    Exhibit(
        "shadows",
        "effects.shadows",
        "effects.shadow_darkness",
        context={"effects.shadow_offset": 0.15},
    ),
    Exhibit("noise", "effects.noise", "effects.noise_level"),
    Exhibit("brightness", "effects.exposure", "effects.brightness"),
    Exhibit("contrast", "effects.exposure", "effects.contrast"),
    Exhibit("gamma", "effects.exposure", "effects.gamma"),
    Exhibit("colour", "effects.exposure", "effects.color"),
    Exhibit("JPEG", "effects.jpeg", "effects.jpeg_quality", strong_is_low=True),
)

_EXPOSURE = ("effects.brightness", "effects.contrast", "effects.gamma", "effects.color")


def plain(start: Hyperparameters) -> Hyperparameters:
    """Return `start` with all effects off and plain polygons as shapes."""
    switches = {exhibit.switch for exhibit in EXHIBITS if exhibit.switch}
    values: dict[str, Value] = dict.fromkeys((*sorted(switches), *_EXPOSURE), 0.0)
    values |= {"shapes.irregularity": 0.0, "shapes.spikiness": 0.0}
    return replace_values(start, values)


def exhibit_sets(start: Hyperparameters, exhibit: Exhibit) -> list[Hyperparameters]:
    """Return the sets for `STRENGTHS`: all else off, the strongest the end of the range."""
    base = replace_values(plain(start), dict(exhibit.context or {}))
    return [base, *(replace_values(base, _values(base, exhibit, share)) for share in _SHARES)]


def _values(base: Hyperparameters, exhibit: Exhibit, share: float) -> dict[str, Value]:
    if exhibit.amount is None:
        assert exhibit.switch is not None
        return {exhibit.switch: share}
    where = 1 - share if exhibit.strong_is_low else share
    known = parameters(base)
    ends = [name for name in known if name in (exhibit.amount, *_ends(exhibit.amount))]
    values = {name: at(known[name], where) for name in ends}
    return values | ({exhibit.switch: 1.0} if exhibit.switch else {})


def _ends(name: str) -> tuple[str, str]:
    return f"{name}.low", f"{name}.high"
