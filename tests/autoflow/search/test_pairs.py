import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from known import Moving, moving_target

from autoflow.search.pairs import PairSettings, choose_pairs, read_pairs, write_pairs
from selfflow.runs.errors import UserError
from selfflow.video import Target

SETTINGS = PairSettings(count=3, side=48)


def many(frames: int = 9) -> Target:
    """Four sequences that move alike."""
    return Target("many", tuple(Moving(f"part {n}", frames) for n in range(4)))


def test_a_stored_list_reads_back_the_same_pairs(tmp_path: Path) -> None:
    target = many()
    pairs = choose_pairs(target, PairSettings(count=6, side=48))
    write_pairs(tmp_path / "pairs.json", pairs)
    again = read_pairs(tmp_path / "pairs.json", target)
    assert len(pairs) == 6
    assert again.covering == pairs.covering
    assert again.motions == pairs.motions
    assert again.side == 48
    assert again == pairs
    assert again.digest == pairs.digest


def test_a_list_names_its_pairs_in_covering_order_with_their_motion(tmp_path: Path) -> None:
    pairs = choose_pairs(many(), PairSettings(count=6, side=48))
    write_pairs(tmp_path / "pairs.json", pairs)
    content = json.loads((tmp_path / "pairs.json").read_text())
    assert (content["target"], content["side"]) == ("many", 48)
    assert [tuple(item[:3]) for item in content["pairs"]] == list(pairs.covering)
    assert len({item[0] for item in content["pairs"][:4]}) == 4
    assert all(item[3] == pytest.approx(5**0.5, rel=0.1) for item in content["pairs"])


def test_other_pairs_have_another_digest() -> None:
    pairs = choose_pairs(many(), PairSettings(count=6, side=48))
    others = [
        choose_pairs(many(), PairSettings(count=6, side=32)),
        choose_pairs(many(), PairSettings(count=5, side=48)),
        choose_pairs(many(), PairSettings(count=6, side=48), seed=1),
    ]
    assert len({each.digest for each in [pairs, *others]}) == 4


def test_smaller_lists_are_nested_and_cover_the_target() -> None:
    pairs = choose_pairs(many(), PairSettings(count=16, side=48))
    lists = [pairs.at(share, 1.0) for share in (0.01, 0.25, 0.5, 1.0)]
    assert [len(each) for each in lists] == [1, 4, 8, 16]
    for fewer, more in pairwise(lists):
        assert set(fewer.addresses) <= set(more.addresses)
    assert all(len({a.sequence for a in each.addresses}) == 4 for each in lists[1:])
    assert lists[-1] == pairs


def test_smaller_lists_have_a_smaller_short_side() -> None:
    pairs = choose_pairs(moving_target(), SETTINGS)
    sizes = [next(pairs.at(1.0, s).batches(1)).image1.shape[-2:] for s in (1.0, 0.75, 0.1)]
    # 48x64 frames; no short side below 32.
    assert sizes == [(48, 64), (36, 48), (32, 43)]


def test_lists_of_one_side_share_their_frames() -> None:
    pairs = choose_pairs(moving_target(), SETTINGS)
    assert pairs.at(0.5, 0.75).cache is pairs.at(1.0, 0.75).cache
    assert pairs.at(0.5, 1.0).cache is pairs.cache


@pytest.mark.parametrize("shares", [(0, 1), (1, 0), (1.1, 1), (1, 2)])
def test_impossible_shares_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        choose_pairs(moving_target(), SETTINGS).at(*shares)


def test_pairs_are_measured_by_sequence_and_time() -> None:
    pairs = choose_pairs(many(), PairSettings(count=6, side=48))
    assert pairs.addresses == sorted(pairs.covering)
    frames = [pairs.cache.load(address).image1 for address in pairs.addresses]
    batches = torch.cat([batch.image1 for batch in pairs.batches(4)])
    assert torch.equal(batches, torch.cat(frames))


def test_batches_hold_every_pair_once_with_its_flow() -> None:
    pairs = choose_pairs(moving_target(), SETTINGS)
    batches = list(pairs.batches(2))
    assert [len(batch) for batch in batches] == [2, 1]
    for batch in batches:
        assert batch.flow is not None
        assert (batch.flow[:, 0] == 2).all()
        assert (batch.flow[:, 1] == 1).all()


def test_the_choice_for_the_self_supervised_metric_knows_of_no_label() -> None:
    with_labels = choose_pairs(moving_target(labelled=True), SETTINGS)
    without = choose_pairs(moving_target(labelled=False), SETTINGS)
    assert with_labels.covering == without.covering
    assert with_labels.has_flow
    assert not without.has_flow


def test_labelled_pairs_are_asked_of_a_target_that_has_none() -> None:
    with pytest.raises(UserError, match="no flow is known"):
        choose_pairs(moving_target(labelled=False), SETTINGS, labelled=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"target": "moving", "side": 48, "pairs": [[1]]}',
        '{"target": "moving", "side": 48, "pairs": []}',
    ],
)
def test_a_broken_list_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(UserError, match=r"pairs\.json"):
        read_pairs(tmp_path / "pairs.json", moving_target())


def test_a_list_of_another_target_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.json", choose_pairs(moving_target(), SETTINGS))
    other = Target("other", moving_target().sequences)
    with pytest.raises(UserError, match="made for target moving"):
        read_pairs(tmp_path / "pairs.json", other)
