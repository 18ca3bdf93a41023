from pathlib import Path

import pytest
from known import moving_target

from autoflow.pairs import PairSettings, choose_pairs, read_pairs, write_pairs
from selfflow.runs.errors import UserError
from selfflow.video import Target

SETTINGS = PairSettings(count=3, side=48)


def test_a_stored_list_reads_back_the_same_pairs(tmp_path: Path) -> None:
    target = moving_target()
    pairs = choose_pairs(target, SETTINGS)
    write_pairs(tmp_path / "pairs.json", pairs)
    again = read_pairs(tmp_path / "pairs.json", target)
    assert len(pairs) == 3
    assert list(again.addresses) == list(pairs.addresses)
    assert again.side == 48


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
    assert list(with_labels.addresses) == list(without.addresses)
    assert with_labels.has_flow
    assert not without.has_flow


def test_labelled_pairs_are_asked_of_a_target_that_has_none() -> None:
    with pytest.raises(UserError, match="no flow is known"):
        choose_pairs(moving_target(labelled=False), SETTINGS, labelled=True)


@pytest.mark.parametrize("text", ["", "{}", '{"target": "moving", "side": 48, "pairs": [[1]]}'])
def test_a_broken_list_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(UserError, match=r"pairs\.json"):
        read_pairs(tmp_path / "pairs.json", moving_target())


def test_a_list_of_another_target_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.json", choose_pairs(moving_target(), SETTINGS))
    other = Target("other", moving_target().sequences)
    with pytest.raises(UserError, match="made for target moving"):
        read_pairs(tmp_path / "pairs.json", other)
