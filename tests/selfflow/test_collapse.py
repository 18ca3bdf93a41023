"""The guard against flow that shrinks to nothing."""

import json

import pytest
import torch

from selfflow.census import census
from selfflow.collapse import CollapseGuard, Sight, collapsed, look
from selfflow.flow import warp
from selfflow.frames import FrameCache, PairAddress
from selfflow.raft import raft_small
from selfflow.runs.config import Config
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.video import open_target

START = Sight(motion=4.0, penalty=1.5, still=3.0)


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "run", "test", Config()) as run:
        yield run


def guard(run, *sights, every=10):
    coming = iter(sights)
    return CollapseGuard(lambda: next(coming), every, run)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Sight(0.2, 2.99, 3.0), True),
        (Sight(0.2, 2.0, 3.0), False),  # little motion, but it explains the frames
        (Sight(2.0, 3.2, 3.0), False),  # wrong motion is another illness
        (Sight(0.0, 3.0, 3.0), True),
    ],
)
def test_collapse_is_no_motion_and_nothing_gained_by_it(now, expected):
    assert collapsed(START, now) is expected


def test_a_collapse_is_told_once_with_its_figures(run, capsys):
    watch = guard(run, START, Sight(3, 2, 3), Sight(0.03, 3, 3), Sight(0.01, 3, 3))
    for step in range(1, 31):
        watch(step)
    (text,) = watch.warnings
    for figure in ("after 20 steps", "0.03 px", "4 px at the start", "census 3.000, 3.000 without"):
        assert figure in text
    assert capsys.readouterr().err.count("Warning") == 1


def test_a_continued_training_knows_the_first_look_and_what_was_said(run):
    watch = guard(run, START, Sight(0.03, 3, 3))
    watch(10)
    again = guard(run, Sight(0.03, 3, 3))
    again(20)
    assert again.warnings == watch.warnings
    assert len(again.warnings) == 1


def test_no_looks_are_taken_if_none_are_asked_for(run):
    watch = guard(run, every=0)
    watch(0)
    watch(10)
    assert watch.warnings == []


def test_a_damaged_file_is_named(run):
    (run.path / "guard.json").write_text(json.dumps({"first": {}}))
    with pytest.raises(UserError, match=r"guard\.json"):
        guard(run)


def test_a_look_is_motion_and_what_it_explains(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 3, height=64, width=72))
    target = open_target(str(tmp_path / "film"))
    cache, network = FrameCache(target), raft_small().train()
    pairs = [PairAddress(target.sequences[0].name, k, k + 1) for k in range(2)]
    random = torch.get_rng_state()
    seen = look(network, cache, pairs, 2, torch.device("cpu"))
    assert network.training
    assert torch.equal(random, torch.get_rng_state())
    rows = []
    for pair in pairs:
        frames = cache.load(pair)
        with torch.no_grad():
            flow = network.eval()(frames.image1, frames.image2, 2)
        total, count = 0.0, 0
        penalty = census(frames.image1, warp(frames.image2, flow))
        for y in range(3, 61):
            for x in range(3, 69):
                to_x, to_y = x + flow[0, 0, y, x], y + flow[0, 1, y, x]
                if 0 <= to_x <= 71 and 0 <= to_y <= 63:
                    total, count = total + penalty[0, 0, y, x].item(), count + 1
        still = census(frames.image1, frames.image2)[..., 3:-3, 3:-3].mean().item()
        rows.append((flow.norm(dim=1).mean().item(), total / count, still))
    assert seen == pytest.approx([sum(column) / 2 for column in zip(*rows, strict=True)], rel=1e-4)
