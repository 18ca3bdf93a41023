import numpy as np
import pytest
import torch

from autoflow.gallery import EXHIBITS, Exhibit, exhibit_sets, plain
from autoflow.hyperparameters import Hyperparameters
from autoflow.preview import preview
from autoflow.render import render
from autoflow.sheet import picture, sheet, visibility_picture
from selfflow.runs.config import flatten
from selfflow.runs.parameter import parameters

SIZE = (144, 192)


def test_a_sheet_holds_its_pictures_unchanged() -> None:
    generator = np.random.default_rng(0)
    rows = [[generator.integers(0, 256, (8, 10, 3), np.uint8) for _ in range(n)] for n in (3, 2)]
    image = sheet(rows)
    windows = np.lib.stride_tricks.sliding_window_view(image, (8, 10, 3))[:, :, 0]
    for row in rows:
        for each in row:
            assert (windows == each).all((-3, -2, -1)).sum() == 1


def test_hidden_pixels_are_red_and_the_others_grey() -> None:
    image = torch.full((3, 4, 4), 0.5)
    visible = torch.zeros(1, 4, 4, dtype=torch.bool)
    visible[:, :2] = True
    shown = visibility_picture(image, visible)
    assert (shown[:2] == picture(image)[:2]).all()
    assert (shown[2:, :, 0] > shown[2:, :, 1] + 50).all()


def test_preview_shows_frames_flow_and_visibility() -> None:
    image = preview([Hyperparameters()], count=2, size=(120, 160))
    assert image.shape[0] > 2 * 120
    assert image.shape[1] > 4 * 160


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.title)
def test_an_exhibit_changes_one_thing_more_and_more(exhibit: Exhibit) -> None:
    start = Hyperparameters()
    off, *strengths = exhibit_sets(start, exhibit)
    for each in strengths:
        changed = {name for name, value in flatten(each).items() if flatten(off)[name] != value}
        assert changed <= {exhibit.switch, exhibit.amount}
        assert changed
    assert len({each.model_dump_json() for each in (off, *strengths)}) == 4
    seen = [render(each, 1, torch.arange(3), size=SIZE).frames for each in (off, strengths[-1])]
    assert not torch.equal(*seen)


def test_the_gallery_knows_every_effect_and_shape() -> None:
    names = {exhibit.switch for exhibit in EXHIBITS} | {exhibit.amount for exhibit in EXHIBITS}
    known = parameters(Hyperparameters())
    probabilities = {
        name
        for name, each in known.items()
        if name.startswith(("effects.", "shapes.")) and each.unit == "probability"
    }
    assert probabilities <= names
    assert not any(parameters(plain(Hyperparameters()))[name].default for name in probabilities)
