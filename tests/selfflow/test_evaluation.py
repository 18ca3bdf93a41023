"""Evaluation: labelled pairs in, both averages out, by part of the data."""

import json
from io import StringIO

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from selfflow.cli.evaluate import evaluate_command
from selfflow.evaluation import evaluate
from selfflow.io import write_flo, write_image, write_kitti_png
from selfflow.labelled import LabelledPair
from selfflow.metrics import Tally
from selfflow.models import load
from selfflow.pairs import Pairs
from selfflow.raft import raft_small
from selfflow.runs.cli import Group


class Constant:
    """A model that always says the same, and notes what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, image1, image2, iterations=12):
        self.asked.append((tuple(image1.shape), iterations))
        return torch.ones(1, 2, *image1.shape[-2:])


def labelled(name, part, size, speed, **masks):
    image = torch.rand(1, 3, *size)
    flow = torch.full((1, 2, *size), speed)
    return LabelledPair(name, part, lambda: Pairs(image, image, flow, **masks))


def printed(table, width=100):
    console = Console(width=width, file=StringIO())
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def pairs():
    return [
        labelled("a", "clean", (8, 10), 1.0),
        labelled("b", "clean", (12, 8), 3.0),
        labelled("c", "final", (8, 8), 50.0),
    ]


def test_parts_are_evaluated_apart_and_sizes_may_differ(pairs):
    model = Constant()
    result = evaluate(model, pairs, iterations=7, name="one", data="films").as_dict()
    assert model.asked == [((1, 3, 8, 10), 7), ((1, 3, 12, 8), 7), ((1, 3, 8, 8), 7)]
    clean, final = result["results"]["films clean"], result["results"]["films final"]
    assert (clean["pairs"], final["pairs"]) == (2, 1)
    far = 8**0.5
    assert clean["pooled"]["all"]["epe"] == pytest.approx(far * 96 / 176)
    assert clean["per_image"]["all"]["epe"] == pytest.approx(far / 2)
    assert clean["each"]["b"]["epe"] == pytest.approx(far)
    assert "s40+" in final["pooled"]
    assert "s40+" not in clean["pooled"]
    assert result["iterations"] == 7
    assert "pooled" in result["definitions"]


def test_the_result_is_that_of_a_tally(pairs):
    tally = Tally()
    batch = pairs[1].load()
    tally.add(torch.ones_like(batch.flow), batch.flow, None, None)
    result = evaluate(Constant(), pairs[1:2], data="x").as_dict()
    assert result["results"]["x clean"]["pooled"] == tally.pooled()


def test_tables_have_a_row_for_every_group_that_has_pixels(pairs):
    tables = evaluate(Constant(), pairs, name="one", data="films").tables()
    assert [table.title for table in tables] == [
        "one on films clean: 2 pairs",
        "one on films final: 1 pair",
    ]
    assert tables[0].row_count == 2
    assert list(tables[0].columns[0].cells) == ["all", "s0-10"]
    assert next(iter(tables[0].columns[1].cells)) == f"{8**0.5 * 96 / 176:.3f}"


def test_zero_flows_error_is_the_motion(pairs):
    result = evaluate(load("zero"), pairs[2:], data="x").as_dict()
    assert result["results"]["x final"]["pooled"]["all"]["epe"] == pytest.approx(50 * 2**0.5)


def test_a_pair_without_a_label_is_refused():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="no label"):
        evaluate(Constant(), [LabelledPair("bare", "", lambda: Pairs(image, image))])


def test_on_sintel_errors_are_told_apart_by_their_distance_from_occlusions():
    visible = torch.ones(1, 1, 8, 90, dtype=torch.bool)
    visible[..., :5] = False
    pairs = [labelled("a", "clean", (8, 90), 0.0, visible=visible)]
    found = evaluate(Constant(), pairs, data="x", dataset="sintel")
    pooled = found.as_dict()["results"]["x clean"]["pooled"]
    counts = {group: pooled[group]["pixels"] / 8 for group in pooled}
    assert counts == {
        "all": 90, "s0-10": 90, "d0-10": 9, "d10-60": 50, "d60-140": 26,
        "visible": 85, "not visible": 5,
    }  # fmt: skip
    assert "from occluded ones" in printed(found.tables()[0])
    other = evaluate(Constant(), pairs, data="x", dataset="kitti").as_dict()
    assert "d0-10" not in other["results"]["x clean"]["pooled"]


def test_masks_divide_the_pixels_and_a_row_tells_of_how_many_pairs_it_is():
    left = torch.arange(8).view(1, 1, 1, 8).expand(1, 1, 8, 8) < 4
    pairs = [
        labelled("a", "", (8, 8), 0.0, visible=left, foreground=~left),
        labelled("b", "", (8, 8), 3.0),
    ]
    result = evaluate(Constant(), pairs, name="one", data="x")
    found = result.as_dict()["results"]["x"]
    for group in ("visible", "not visible", "foreground", "background"):
        assert found["pooled"][group]["pixels"] == 32
        assert found["per_image"][group]["images"] == 1
    assert found["per_image"]["all"]["images"] == 2
    text = printed(result.tables()[0])
    assert "foreground" in text
    assert max(map(len, text.splitlines())) <= 100


def test_tables_fit_a_hundred_columns_whatever_they_hold():
    dark = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    pairs = [
        labelled(str(k), "clean", (8, 8), 250.0 * k, visible=dark, foreground=dark)
        for k in range(12)
    ]
    for table in evaluate(
        Constant(), pairs, name="s-af-small", data="sintel", dataset="sintel"
    ).tables():
        text = printed(table)
        assert "…" not in text
        assert all(len(line.rstrip()) <= 100 for line in text.splitlines())


def test_published_figures_stand_beside_those_of_a_known_data_set(pairs):
    plain = evaluate(Constant(), pairs, data="sintel")
    assert len(plain.tables()) == 2
    assert "published" not in plain.as_dict()["results"]["sintel clean"]
    known = evaluate(Constant(), pairs, name="one", data="x", dataset="sintel", iterations=7)
    assert len(known.tables()) == 4
    beside = known.as_dict()["results"]["x clean"]["published"]
    assert beside["pairs"] == 1041
    assert {"model": "RAFT", "epe": 1.43}.items() <= beside["figures"][0].items()
    assert "over all 1041 pairs, yours over 2" in beside["differences"][0]
    text = printed(known.tables()[1])
    assert "yours: one" in text
    assert f"{8**0.5 * 96 / 176:.2f}" in text
    assert "7" in text


def test_warm_start_follows_a_video_and_not_from_one_to_another():
    torch.manual_seed(0)
    network = raft_small().eval()
    frames = [torch.rand(1, 3, 64, 64) for _ in range(4)]

    def pair(first, second, part):
        batch = Pairs(frames[first], frames[second], torch.zeros(1, 2, 64, 64))
        return LabelledPair(f"{part}{first}", part, lambda: batch)

    pairs = [pair(0, 1, "clean"), pair(1, 2, "clean"), pair(3, 0, "final")]
    plain, warm = (
        evaluate(network, pairs, iterations=2, warm_start=start, data="x")
        for start in (False, True)
    )
    assert (plain.warm_started, warm.warm_started) == (None, 1)
    assert "Warm start: 1 of all 3 pairs" in " ".join(printed(warm.tables()[0]).split())
    assert warm.as_dict()["warm_started"] == 1
    ours, theirs = (one.as_dict()["results"] for one in (plain, warm))
    assert ours["x final"] == theirs["x final"]
    assert ours["x clean"]["each"]["clean0"] == theirs["x clean"]["each"]["clean0"]
    assert ours["x clean"]["each"]["clean1"] != theirs["x clean"]["each"]["clean1"]


def test_the_command_reads_kittis_masks(tmp_path):
    training = tmp_path / "kitti" / "training"
    flow = np.full((16, 24, 2), (4.0, 0.0), np.float32)
    left, upper = np.indices((16, 24))[1] < 6, np.indices((16, 24))[0] < 4
    for index in (10, 11):
        write_image(training / "image_2" / f"000000_{index}.png", np.zeros((16, 24, 3), np.uint8))
    write_kitti_png(training / "flow_occ" / "000000_10.png", flow)
    write_kitti_png(training / "flow_noc" / "000000_10.png", flow, left)
    write_image(training / "obj_map" / "000000_10.png", np.where(upper, 3, 0).astype(np.uint8))
    result = called("--data", tmp_path / "kitti", "--json")
    pooled = json.loads(result.stdout)["results"][str(tmp_path / "kitti")]["pooled"]
    pixels = {group: values["pixels"] for group, values in pooled.items()}
    assert pixels == {
        "all": 384, "s0-10": 384, "visible": 96, "not visible": 288,
        "foreground": 96, "background": 288,
    }  # fmt: skip
    assert all(values["fl_all"] == 100 and values["epe"] == 4 for values in pooled.values())


def test_the_command_takes_one_part_and_any_folder_of_pairs(tmp_path):
    for rendering in ("clean", "final"):
        for number in (1, 2):
            path = tmp_path / "training" / rendering / "wall" / f"frame_{number:04d}.png"
            write_image(path, np.zeros((16, 24, 3), np.uint8))
    flow = np.full((16, 24, 2), (3.0, 4.0), np.float32)
    write_flo(tmp_path / "training" / "flow" / "wall" / "frame_0001.flo", flow)
    one = json.loads(called("--data", tmp_path, "--part", "final", "--json").stdout)["results"]
    assert list(one) == [f"{tmp_path} final"]
    assert one[f"{tmp_path} final"]["pooled"]["all"]["epe"] == 5
    assert one[f"{tmp_path} final"]["published"]["pairs"] == 1041
    folder = tmp_path / "training" / "clean" / "wall"
    write_flo(folder / "frame_0001.flo", flow)
    shown = " ".join(called("--data", folder).stdout.split())
    assert "1 pair" in shown
    assert "published" not in shown


def called(*arguments):
    main = Group(commands={"evaluate": evaluate_command})
    given = ["evaluate", "--model", "zero", *map(str, arguments)]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    return result
