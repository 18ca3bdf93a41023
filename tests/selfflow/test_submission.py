"""Submissions: files in the benchmarks' layouts, continued where they were stopped."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from selfflow.cli.submit import submit_command
from selfflow.flow import project_forward
from selfflow.io import read_flo, read_image, read_kitti_png, write_image
from selfflow.labelled import image_tensor
from selfflow.models import load
from selfflow.raft import raft_small
from selfflow.runs.cli import Group
from selfflow.runs.errors import UserError
from selfflow.submission import BENCHMARKS, find_test_pairs, submit
from selfflow.warm_start import FlowInTurn

main = Group(commands={"submit": submit_command})


class Counting:
    """Zero flow with the number of the call as its first component."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image1, image2, iterations=12):
        self.calls += 1
        flow = torch.zeros(1, 2, *image1.shape[-2:])
        flow[:, 0] = self.calls
        return flow


@pytest.fixture
def sintel(tmp_path, films):
    root = tmp_path / "Sintel"
    for rendering in ("clean", "final"):
        for seed, (scene, count) in enumerate((("ambush_1", 3), ("wall", 2))):
            for number, frame in enumerate(films.film(seed, count, 64, 72), 1):
                write_image(root / "test" / rendering / scene / f"frame_{number:04d}.png", frame)
    return root


@pytest.fixture
def kitti(tmp_path, films):
    root = tmp_path / "kitti"
    for number in range(2):
        for index, frame in enumerate(films.film(number, 2, 64, 72 + number), 10):
            write_image(root / "testing" / "image_2" / f"{number:06d}_{index}.png", frame)
    return root


def files(folder):
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    return sorted(name for name in found if name.endswith((".flo", ".png")))


def test_sintels_layout_is_what_its_bundler_reads(sintel, tmp_path):
    benchmark, pairs = find_test_pairs("sintel", tmp_path)
    assert benchmark is BENCHMARKS["sintel"]
    summary = submit(FlowInTurn(Counting(), 1), benchmark, pairs, tmp_path / "out")
    assert files(tmp_path / "out") == [
        f"{rendering}/{place}"
        for rendering in ("clean", "final")
        for place in ("ambush_1/frame0001.flo", "ambush_1/frame0002.flo", "wall/frame0001.flo")
    ]
    assert (summary.written, summary.kept, summary.complete) == (6, 0, False)
    flow = read_flo(tmp_path / "out" / "clean" / "wall" / "frame0001.flo")
    assert flow.shape == (64, 72, 2)
    assert (flow == (3, 0)).all()


def test_kittis_layout_and_format(kitti, tmp_path):
    benchmark, pairs = find_test_pairs(str(kitti))
    submit(FlowInTurn(Counting(), 1), benchmark, pairs, tmp_path / "out")
    assert files(tmp_path / "out") == ["flow/000000_10.png", "flow/000001_10.png"]
    flow, valid = read_kitti_png(tmp_path / "out" / "flow" / "000001_10.png")
    assert flow.shape == (64, 73, 2)
    assert (flow == (2, 0)).all()
    assert valid.all()


def test_kitti_2012_lies_in_the_root(kitti, tmp_path):
    (kitti / "testing" / "image_2").rename(kitti / "testing" / "colored_0")
    benchmark, pairs = find_test_pairs("kitti2012", tmp_path)
    submit(FlowInTurn(Counting(), 1), benchmark, pairs, tmp_path / "out")
    assert files(tmp_path / "out") == ["000000_10.png", "000001_10.png"]


def test_only_what_is_missing_is_computed(sintel, tmp_path):
    benchmark, pairs = find_test_pairs(str(sintel))
    out = tmp_path / "out"
    submit(FlowInTurn(Counting(), 1), benchmark, pairs, out)
    missing = out / "final" / "ambush_1" / "frame0002.flo"
    missing.unlink()
    model = Counting()
    summary = submit(FlowInTurn(model, 1), benchmark, pairs, out)
    assert (summary.written, summary.kept, model.calls) == (1, 5, 1)
    assert missing.exists()


def test_a_warm_start_that_was_stopped_equals_one_that_was_not(sintel, tmp_path):
    torch.manual_seed(0)
    network = raft_small().eval()
    benchmark, pairs = find_test_pairs(str(sintel))
    pairs, out = pairs[:2], tmp_path / "out"

    def run():
        submit(FlowInTurn(network, 2, warm_start=True), benchmark, pairs, out)
        return [read_flo(out / pair.place) for pair in pairs]

    first, second = run()
    (out / pairs[1].place).unlink()
    assert np.array_equal(run()[1], second)
    frames = [image_tensor(read_image(path)) for path in (pairs[1].first, pairs[1].second)]
    initial = project_forward(torch.from_numpy(first).permute(2, 0, 1)[None])
    with torch.no_grad():
        expected = network(*frames, 2, initial)[0].permute(1, 2, 0)
    torch.testing.assert_close(torch.from_numpy(second), expected)


def call(*arguments, code=0):
    result = CliRunner().invoke(main, ["submit", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_the_command_continues_and_says_what_comes_next(sintel, tmp_path):
    given = ("--model", "zero", "--data", sintel, "--out", tmp_path / "out", "--json")
    first = call(*given)
    assert "its server will not take these" in first.stderr
    assert json.loads(first.stdout)["written"] == 6
    again = json.loads(call(*given).stdout)
    assert (again["written"], again["kept"]) == (0, 6)
    assert f"bundler {tmp_path / 'out'}/clean" in again["next"]
    other = call("--model", "dis", "--data", sintel, "--out", tmp_path / "out", code=2)
    assert "model" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "zero", "--data", "nowhere"), "nowhere"),
        (("--model", "zero", "--data", "kitti", "--data-root", "."), "testing/image_2"),
        (("--model", "dis", "--data", "SINTEL", "--warm-start"), "dis cannot be started"),
        (("--model", "zero", "--data", "SINTEL", "--iterations", "0"), "iterations"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(sintel, tmp_path, arguments, said):
    out = tmp_path / "out"
    given = [str(sintel) if argument == "SINTEL" else argument for argument in arguments]
    assert said in call(*given, "--out", out, code=2).stderr
    assert not out.exists()


def test_a_missing_frame_and_an_odd_size_are_named(kitti, films, tmp_path):
    second = kitti / "testing" / "image_2" / "000001_11.png"
    second.unlink()
    with pytest.raises(UserError, match=r"000001_11\.png"):
        find_test_pairs(str(kitti))
    write_image(second, films.film(0, 1, 60, 72)[0])
    benchmark, pairs = find_test_pairs(str(kitti))
    with pytest.raises(UserError, match=r"000001_11\.png: 72x60"):
        submit(FlowInTurn(load("zero"), 1), benchmark, pairs, tmp_path / "out")
