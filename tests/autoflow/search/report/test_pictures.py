import numpy as np
import pytest
import torch
from known import moving_target, small_settings

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.bench import Bench
from autoflow.search.pairs import choose_pairs
from autoflow.search.report.pictures import network_figure, set_figures, target_figure
from autoflow.space import searched
from selfflow.classical import Zero
from selfflow.runs.config import replace_values

FOGGY = replace_values(Hyperparameters(), {"effects.fog": 1.0, "effects.fog_density": 1.0})


@pytest.fixture(scope="module")
def bench() -> Bench:
    settings = small_settings("moving")
    pairs = choose_pairs(moving_target(), settings.pairs)
    start = Hyperparameters()
    device = torch.device("cpu")
    return Bench(settings, pairs, start, searched(start), None, None, device)


def test_the_target_the_default_and_each_set_have_a_row(bench: Bench) -> None:
    one = target_figure(bench, {"a": FOGGY}).picture
    two = target_figure(bench, {"a": FOGGY, "b": bench.start}).picture
    row = two.shape[0] - one.shape[0]
    assert row > 100
    # What a set renders does not depend on which others are shown.
    assert np.array_equal(one, two[: one.shape[0]])
    # The default and the third row show the same set under other names.
    height = row // 2
    assert np.array_equal(one[-2 * row :][height:row], two[-row:][height:])
    assert not np.array_equal(one[-row:][height:], two[-row:][height:])


def test_each_set_is_shown_in_detail_when_asked_for(bench: Bench) -> None:
    figures = set_figures(bench, {"the best set": FOGGY, "another": bench.start})
    assert [figure.folded for figure in figures] == [False, True, True]
    assert [figure.title for figure in figures[1:]] == [
        "Scenes of the best set",
        "Scenes of another",
    ]
    assert not np.array_equal(figures[1].picture, figures[2].picture)


def test_flow_of_networks_is_shown_beside_the_true_one(bench: Bench) -> None:
    alone = network_figure({"zero": Zero()}, bench.pairs, 1).picture
    both = network_figure({"zero": Zero(), "again": Zero()}, bench.pairs, 1).picture
    assert both.shape[0] == alone.shape[0]
    column = both.shape[1] - alone.shape[1]
    assert alone.shape[1] == pytest.approx(3 * column, abs=10)  # frame, network, true flow
    unlabelled = choose_pairs(moving_target(labelled=False), bench.settings.pairs)
    without = network_figure({"zero": Zero()}, unlabelled, 1).picture
    assert without.shape[1] == alone.shape[1] - column
