"""Published figures: whose, and what differs."""

from torchvision.models import get_model_weights

from selfflow.datasets import DATASETS
from selfflow.published import (
    FIGURES,
    PUBLISHED,
    WHOLE,
    dataset_name,
    differences,
    published,
)


def test_every_figure_has_a_known_place_and_what_is_recalled_says_so():
    for one in PUBLISHED:
        for part, figures in one.figures.items():
            assert part in WHOLE
            assert part[0] in DATASETS
            assert set(figures) <= set(FIGURES)
            assert figures
        assert ("UNVERIFIED" in one.source) == (not one.verified)
        assert not one.verified or "recalled" not in one.source


def test_torchvisions_figures_are_those_of_its_weights():
    rows = [one for one in PUBLISHED if "torchvision" in one.source]
    assert len(rows) == 2
    for one in rows:
        size, weights = one.model.split()
        said = get_model_weights(size)[weights].meta["_metrics"]
        assert one.figures["sintel", "clean"] == said["Sintel-Train-Cleanpass"]
        assert one.figures["sintel", "final"] == said["Sintel-Train-Finalpass"]
        kitti = said["Kitti-Train"]
        assert one.figures["kitti", ""] == {
            "epe img": kitti["per_image_epe"],
            "fl": kitti["fl_all"],
        }


def test_differences_name_what_was_done_otherwise():
    part = ("kitti", "")
    assert len(published(part)) > 4
    same = differences(part, 200, 24, False)
    other = differences(part, 1, 32, True)
    assert len(other) == len(same) + 3
    assert any("24" in reason and "32" in reason for reason in other)
    assert differences(("chairs", "val"), 640, 24, False) == []


def test_a_folder_is_known_by_its_layout(tmp_path):
    (tmp_path / "films" / "training" / "final").mkdir(parents=True)
    assert dataset_name("Sintel") == "sintel"
    assert dataset_name(str(tmp_path / "films")) == "sintel"
    assert dataset_name(str(tmp_path / "films" / "training" / "final")) is None
    assert dataset_name("nowhere") is None
