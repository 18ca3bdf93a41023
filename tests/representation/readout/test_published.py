"""Papers' tables: each row under a setting that exists, and figures as they are printed."""

import pytest

from representation.readout import READOUTS
from representation.readout.published import PUBLISHED, published


def test_rows_are_complete_and_unlike_one_another() -> None:
    assert len(set(map(str, PUBLISHED))) == len(PUBLISHED)
    for row in PUBLISHED:
        assert row.scores
        assert row.source
        assert row.trained_on
        if row.task == "depth":
            assert all(0 < value < 2 for value in row.scores.values())
        else:
            assert all(0 <= value <= 100 for value in row.scores.values())


def test_their_protocols_and_settings_exist() -> None:
    for row in PUBLISHED:
        kind = READOUTS[row.task]
        assert row.protocol in kind.protocols, row
        for key in row.settings:
            assert key.partition(".")[0] in kind.Settings.model_fields, row


@pytest.mark.parametrize(
    ("place", "model", "trained_on", "scores"),
    [
        (("segmentation", "flowe", "bdd100k"), "FlowE", "BDD100K", {"miou": 37.6}),
        (("segmentation", "flowe-heavy", "bdd100k"), "FlowE", "BDD100K", {"miou": 49.8}),
        (("detection", "flowe", "bdd100k"), "CRW", "BDD100K", {"AP": 1.7}),
        (("detection", "flowe-heavy", "bdd100k"), "SimCLR", "ImageNet", {"AP": 26.8}),
        (("segmentation", "flowe-cityscapes", "cityscapes"), "FlowE", "UrbanCity", {"miou": 51.1}),
        (("instances", "flowe-heavy", "cityscapes"), "FlowE", "UrbanCity", {"mask_AP": 28.1}),
        (
            ("segmentation", "flowe-cityscapes", "cityscapes"),
            "RAFT",
            "Chairs, Things, Sintel",
            {"miou": 10.5},
        ),
        (("segmentation", "vader", "voc"), "VADeR", "ImageNet", {"miou": 56.7}),
        (
            ("depth", "vader", "nyu"),
            "random",
            "nothing",
            {"rmse_image": 1.261, "rmse_pixel": 1.261},
        ),
        (("segmentation", "multisiam", "bdd100k"), "MultiSiam", "Waymo", {"miou": 57.6}),
        (
            ("detection", "multisiam", "voc"),
            "DenseCL",
            "ImageNet",
            {"AP": 58.7, "AP50": 82.8, "AP75": 65.2},
        ),
        (
            ("instances", "multisiam", "cityscapes"),
            "MultiSiam",
            "SODA5M",
            {"mask_AP": 34.1, "mask_AP50": 61.7},
        ),
    ],
)
def test_figures_stand_where_they_belong(
    place: tuple[str, str, str], model: str, trained_on: str, scores: dict[str, float]
) -> None:
    found = [
        row.scores
        for row in PUBLISHED
        if (row.task, row.protocol, row.data, row.model, row.trained_on)
        == (*place, model, trained_on)
    ]
    assert found == [scores]


def test_label_shares_have_figures_of_their_own() -> None:
    counts = {"train": 30, "test": 500}
    for share, expected in ((1.0, 34.3), (5.0, 43.1), (10.0, 47.8), (100.0, 64.5)):
        settings = {"parts.label_share": share}
        rows = published(
            "segmentation", "cacl-finetune", "cityscapes", counts, settings, settings.keys()
        )
        assert [row.scores["miou"] for row in rows if row.model == "CACL"] == [expected]
    other = {"parts.label_share": 2.0}
    assert not published("segmentation", "cacl-finetune", "cityscapes", counts, other, other.keys())


def test_part_of_the_data_has_no_figures() -> None:
    for counts, expected in (
        ({"train": 2975, "test": 500}, True),
        ({"train": 100, "test": 500}, False),
    ):
        found = published("segmentation", "cacl", "cityscapes", counts, {}, ())
        assert bool(found) == expected
