"""What the charts draw, looked up in the axes; and the look that they share."""

import base64
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from studies import LENGTH, SPACE, made_up_population, made_up_study

from autoflow.search.report import charts, compare_page, drawing
from autoflow.search.report.importance import importances, slice_rows
from autoflow.search.report.lineage import lineage_rows, schedule_rows
from autoflow.search.report.rungs import prediction_points
from autoflow.search.report.spending import course_rows
from autoflow.search.report.tables import measurement_rows
from autoflow.search.results import ranked

STUDY = made_up_study(40)
POPULATION = made_up_population(members=4, generations=3)
WINNER = ranked(POPULATION)[0]


@pytest.fixture(autouse=True)
def _axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts return their axes, drawn on, instead of an image."""

    def draw(on: Callable[[Axes], None], size: tuple[float, float] = drawing.SIZE) -> Axes:
        axes = Figure(size, layout="constrained").subplots()
        on(axes)
        return axes

    monkeypatch.setattr(charts, "svg", draw)
    monkeypatch.setattr(compare_page, "svg", draw)


def marks(axes: Axes) -> dict[str, int]:
    """Marks by colour."""
    found: dict[str, int] = {}
    for each in axes.collections:
        assert isinstance(each, PathCollection)
        color = to_hex(each.get_facecolor()[0]) if len(each.get_facecolor()) else "none"
        found[color] = found.get(color, 0) + len(each.get_offsets())
    return found


def lines(axes: Axes, color: str) -> list[tuple[Sequence[float], Sequence[float]]]:
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
        if to_hex(line.get_color()) == color and len(line.get_xdata())
    ]


@pytest.mark.parametrize("against", ["trial", "steps"])
def test_the_course_shows_every_trial_and_the_best_so_far(against: str) -> None:
    rows = course_rows(STUDY, LENGTH)
    axes = charts.course(rows, against)
    counts = {state: sum(t.state == state for t in STUDY) for state in ("complete", "pruned")}
    assert marks(axes) == {drawing.GREY: counts["pruned"], drawing.BLUE: counts["complete"]}
    ((x, y),) = lines(axes, drawing.ORANGE)
    assert x == [row[against] for row in rows]
    assert y == [row["best"] for row in rows]
    (default,) = lines(axes, drawing.INK)
    assert default[1] == [STUDY[0].omega] * 2


def test_a_populations_best_begins_anew_in_each_generation() -> None:
    axes = charts.course(course_rows(POPULATION, LENGTH))
    assert [len(x) for x, _ in lines(axes, drawing.ORANGE)] == [4, 4, 4]
    assert lines(axes, drawing.INK) == []  # the default set has not been trained that long


def test_within_the_trials_the_best_and_the_default_stand_out() -> None:
    best = [trial.number for trial in ranked(STUDY)[:3]]
    axes = charts.within(measurement_rows(STUDY), best, 0)
    assert len(lines(axes, drawing.GREY)) == len(STUDY) - len({*best, 0})
    named = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    ranks = [name.split(" (")[0] for name in named]
    assert ranks == sorted(ranks, key=charts.RANKS.index)
    for number in best:
        course = [m.omega for m in STUDY[number].course]
        known = lines(axes, drawing.ORANGE) + lines(axes, drawing.INK)
        assert course in [y for _, y in known]


def test_the_best_trials_are_told_apart_without_colour() -> None:
    best = [trial.number for trial in ranked(STUDY)[:3]]
    axes = charts.within(measurement_rows(STUDY), best, best[1])
    drawn = [line for line in axes.get_lines() if line.get_color() != drawing.GREY]
    assert len(drawn) == 3
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in drawn}) == 3
    named = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert named[1] == f"number 2 (trial {best[1]}, the default)"
    ((_, omegas),) = lines(axes, drawing.INK)
    assert omegas == [m.omega for m in STUDY[best[1]].course]


def test_a_trial_of_a_population_begins_where_its_parent_ended() -> None:
    axes = charts.within(measurement_rows(POPULATION), [WINNER.number], 0)
    ((x, y),) = lines(axes, drawing.ORANGE)
    parent = POPULATION[WINNER.parent]
    assert (x[0], y[0]) == (parent.last.step, parent.omega)
    assert len(x) == 4


def test_importance_is_drawn_from_the_strongest_down_beside_chance() -> None:
    rows = importances(STUDY, SPACE, 10)[:5]
    axes = charts.importance(rows)
    widths = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches}
    assert [widths[h] for h in range(4, -1, -1)] == [abs(row["rho"]) for row in rows]
    assert [text.get_text() for text in axes.get_yticklabels()] == [r["parameter"] for r in rows]
    (chance,) = lines(axes, drawing.INK)
    assert chance[0] == [rows[0]["chance"]] * 2


def test_a_slice_marks_what_was_pruned_later_and_what_ended_before() -> None:
    rows = slice_rows(STUDY, ["effects.fog", "layers.size"], 30)
    axes = charts.slice_of(rows, "effects.fog", "probability")
    there = [row for row in rows if row["parameter"] == "effects.fog" and row["omega"] is not None]
    pruned = sum(row["state"] == "pruned" for row in there)
    assert marks(axes) == {drawing.BLUE: len(there) - pruned, drawing.ORANGE: pruned}
    ((strokes, _),) = lines(axes, drawing.GREY)
    assert len(strokes) == len(STUDY) - len(there)
    assert charts.slice_of(rows, "layers.size", "", log=True).get_xscale() == "log"


def test_scores_rungs_and_coverage_are_drawn_point_by_point() -> None:
    rows = [{"trial": n, "all terms": n, "aepe": 2 * n} for n in range(5)]
    axes = charts.score_against_error(rows, "all terms", 3)
    assert marks(axes) == {drawing.BLUE: 5, "none": 1}
    points = prediction_points(STUDY)
    (drawn,) = marks(charts.prediction(points, 10)).values()
    assert drawn == sum(point["step"] == 10 for point in points)
    measured = [row for row in measurement_rows(STUDY) if row["step"] == 10]
    offsets = charts.covered(measured).collections[0].get_offsets()
    assert np.allclose(offsets[:, 0], [100 * row["covered"] for row in measured])


def test_lineage_and_schedule_follow_their_rows() -> None:
    rows = lineage_rows(POPULATION, WINNER)
    axes = charts.lineage(rows)
    assert len(lines(axes, drawing.ORANGE)) == 2  # from generation to generation
    copies = sum(row["copied_member"] is not None and not row["winner"] for row in rows)
    assert len(lines(axes, drawing.BLUE)) == copies
    told = schedule_rows(POPULATION, WINNER, SPACE, LENGTH)
    axes = charts.schedule(told, most=2)
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == [
        told[0]["parameter"], told[3]["parameter"],
    ]  # fmt: skip
    steps, places = lines(axes, drawing.BLUE)[0]
    assert steps == [0, 90, 90, 180, 180, 270]
    assert places[::2] == [100 * row["place"] for row in told[:3]]


def test_two_courses_share_an_axis() -> None:
    rows = [
        {"search": name, "steps": 10 * n, "seconds": 3600.0 * n, "best": 2.0 - n, "best_step": 90}
        for name in ("one", "two")
        for n in range(4)
    ]
    axes = compare_page.courses(rows, ("one", "two"), "seconds", "best")
    assert axes.get_xlabel() == "hours, all workers together"
    for color in (drawing.ORANGE, drawing.BLUE):
        assert lines(axes, color)[0] == ([0, 1, 2, 3], [2, 1, 0, -1])
    short = compare_page.courses(rows[:2], ("one", "two"), "seconds", "best")
    assert short.get_xlabel() == "minutes, all workers together"


def test_importances_of_two_searches_stand_in_pairs() -> None:
    rows = [
        {"parameter": "a", "rho_first": 0.5, "rho_second": None, "chance_first": 0.4},
        {"parameter": "b", "rho_first": -0.2, "rho_second": 0.1, "chance_first": 0.4,
         "chance_second": 0.3},
    ]  # fmt: skip
    axes = compare_page.importances(rows, ("one", "two"))
    assert sorted(bar.get_width() for bar in axes.patches) == [-0.2, 0.1, 0.5]


def test_values_far_above_all_others_do_not_flatten_them() -> None:
    axes = Figure().subplots()
    drawing.keep_in_view(axes, [1.0, 1.1, 1.2, 1.3, 1.4, 500.0])
    assert axes.get_ylim()[1] < 2
    assert axes.texts[0].get_text() == "1 above, up to 500"
    untouched = Figure().subplots()
    for values in ([1.0, 1.1, 1.2, 1.3, 2.0], [1.0, 500.0], [3.0] * 9):
        drawing.keep_in_view(untouched, values)
    assert untouched.get_autoscaley_on()
    assert not untouched.texts


def test_points_of_nothing_draw_nothing() -> None:
    axes = Figure().subplots()
    drawing.points(axes, [], drawing.BLUE)
    drawing.legend(axes)
    assert not axes.collections
    assert axes.get_legend() is None


def test_a_chart_is_an_svg_that_stands_alone_and_is_the_same_each_time() -> None:
    def draw(axes: Axes) -> None:
        drawing.points(axes, [(0, 1), (2, 3)], drawing.BLUE, label="some")
        drawing.legend(axes, columns=2)

    source = drawing.svg(draw)
    assert source == drawing.svg(draw)
    kind, _, data = source.partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(data))
    assert root.tag.endswith("svg")
    assert not [each for each in root.iter() if each.tag.endswith("image")]
