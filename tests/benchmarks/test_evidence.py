"""The experiment itself: its sets, its plan, its report, and a tiny run of all four parts."""

import json
import math

import pytest
from click.testing import CliRunner

from autoflow.hyperparameters import Hyperparameters
from autoflow.space import place, searched
from benchmarks.evidence.__main__ import main
from benchmarks.evidence.experiment import within_reach
from benchmarks.evidence.outcomes import ERROR, OMEGA, read_outcomes
from benchmarks.evidence.pool import evenly, pool, sets_named
from benchmarks.evidence.recipe import recipe
from benchmarks.evidence.report import paste, to_csv
from benchmarks.evidence.trainings import Training, comparison, noise, ranking
from selfflow.runs.config import flatten
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_table

TINY = (
    'targets=[{name="sample", pairs={count=2, side=32}}]',
    "short.steps=2",
    "rungs=[1, 2]",
    "near=2",
    "wide=2",
    "noise_seeds=2",
    "compared_seeds=2",
    "compared_random=1",
    "full.steps=1",
    "full.sets=4",
    "bracket=2",
    "trials=2",
    "trial.steps=2",
    "training.head_start.matching_steps=1",
    "training.optimisation.batch_size=1",
    "training.optimisation.crop=[32, 48]",
    "training.optimisation.iterations=1",
    "metric.iterations=1",
)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_recipes_are_what_was_asked_for(name):
    chosen = recipe(name)
    assert len(pool(chosen)) >= 24
    assert len(set(pool(chosen))) == len(pool(chosen)) == 1 + chosen.near + chosen.wide
    assert chosen.noise_seeds >= 5
    assert min(chosen.compared_seeds, chosen.compared_random) >= 3
    assert chosen.full.sets <= len(pool(chosen))
    assert chosen.rungs[-1] == chosen.short.steps


def test_seeds_are_shared_between_the_parts():
    chosen = recipe("cpu")
    known = {*noise(chosen), *ranking(chosen)}
    assert Training("default", "short", 2) in known
    new = [each for each in comparison(chosen) if each not in known]
    assert {each.sets for each in new} == {"found", "top-3", "wide-2", "wide-3"}
    assert len(new) == len(set(new)) == 10


def test_sets_by_name(tmp_path):
    chosen = recipe("cpu")
    assert sets_named("default", chosen, tmp_path) == [Hyperparameters()]
    sets = [sets_named(name, chosen, tmp_path)[0] for name in pool(chosen)]
    assert len({str(each) for each in sets}) == len(sets)
    assert sets_named("wide-2", chosen, tmp_path) == sets_named("wide-2", chosen, tmp_path)
    space = searched(Hyperparameters())

    def distance(each):
        flat = flatten(each)
        known = [name for name in space if name in flat and not isinstance(flat[name], bool)]
        moved = [place(space[n], flat[n]) - place(space[n], space[n].default) for n in known]
        return math.sqrt(sum(value**2 for value in moved) / len(moved))

    near = [distance(sets_named(f"near-{n}", chosen, tmp_path)[0]) for n in range(1, 4)]
    wide = [distance(sets_named(f"wide-{n}", chosen, tmp_path)[0]) for n in range(1, 4)]
    assert 0.1 < min(near) < max(near) < 0.25 < min(wide)


def test_wide_sets_lie_evenly_in_the_space():
    space = searched(Hyperparameters())
    points = [evenly(0, number) for number in range(1, 21)]
    places = [place(space[name], point[name]) for point in points for name in space]
    assert min(places) >= 0
    assert max(places) <= 1
    assert sum(places) / len(places) == pytest.approx(0.5, abs=0.03)
    assert evenly(0, 1) != evenly(1, 1)


def test_targets_that_are_not_there_are_left_out(tmp_path):
    found = within_reach(recipe("cpu"), tmp_path)
    assert [each.name for each in found.targets] == ["sample"]
    with pytest.raises(UserError, match="none of the recipe's targets"):
        within_reach(recipe("cpu", ('targets=[{name="sintel"}]',)), tmp_path)


def test_csv_has_a_column_for_each_key_of_any_row():
    assert to_csv([{"a": 1}, {"a": None, "b": "x, y"}]) == 'a,b\n1,\n,"x, y"\n'


def test_tables_are_pasted_between_the_marks(tmp_path):
    (tmp_path / "evidence.png").write_bytes(b"picture")
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- evidence -->\nold\n<!-- end of evidence -->\nb\n")
    paste(tmp_path, r"| \1 new |" + "\n", readme)
    paste(tmp_path, r"| \1 new |" + "\n", readme)
    assert readme.read_text().splitlines() == [
        "a",
        "<!-- evidence -->",
        r"| \1 new |",
        "",
        "![Evidence](benchmarks/evidence/evidence.png)",
        "<!-- end of evidence -->",
        "b",
    ]
    assert (tmp_path / "benchmarks/evidence/evidence.png").read_bytes() == b"picture"
    readme.write_text("nothing")
    with pytest.raises(UserError, match="has no lines"):
        paste(tmp_path, "", readme)


def command(out, *more):
    settings = [word for each in TINY for word in ("--set", each)]
    return CliRunner().invoke(main, [*settings, "--out", str(out), *more])


@pytest.mark.slow
def test_all_four_parts_stopped_and_gone_on_with(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = command(whole)
    assert done.exit_code == 0, done.output
    results = json.loads((whole / "results.json").read_text())
    assert results["missing"] == {}
    assert {row["sets"] for row in results["comparison"]} == {"default", "found", "top-3", "random"}
    assert all(row["error"] > 0 for row in results["comparison"])
    assert all(row["count"] == 5 for row in results["correlation"] if row["sets"] == "all")
    for name in ("noise.csv", "correlation.csv", "comparison.csv", "cost.csv", "evidence.md"):
        assert (whole / name).exists()
    assert (whole / "evidence.png").read_bytes().startswith(b"\x89PNG")
    assert (whole / "evidence.md").read_text() in done.output

    stopped = command(parts, "--budget", "1s")
    # On a busy machine not even the first training is done by then.
    assert "Not finished" in stopped.output or "nothing is measured yet" in stopped.output
    for file in (whole / "trainings").glob("*.json"):
        copy = parts / "trainings" / file.name
        copy.parent.mkdir(exist_ok=True)
        if file.name.startswith("short-default"):
            copy.write_text(file.read_text())
    assert command(parts).exit_code == 0

    def values(path):
        return {
            (each.training, each.step): (each.values[OMEGA], each.values[ERROR])
            for each in read_outcomes(path).every
        }

    assert values(parts) == values(whole)
    assert read_table(whole / "pairs-sample.json") == read_table(parts / "pairs-sample.json")
    before = {file: file.stat().st_mtime_ns for file in (parts / "trainings").iterdir()}
    assert command(parts, "--report-only").exit_code == 0
    assert command(parts).exit_code == 0
    assert before == {file: file.stat().st_mtime_ns for file in (parts / "trainings").iterdir()}
    refused = command(parts, "--set", "near=3")
    assert refused.exit_code == 2
    assert "near = 2, now it is 3" in refused.output
