from collections.abc import Sequence
from dataclasses import replace

import pytest
from known import made_up_trials, small_settings

from autoflow.search.live_table import Moment, search_table, time_left
from autoflow.search.results import TrialResult
from selfflow.runs.config import replace_values

SETTINGS = replace_values(small_settings("moving", trials=24), {"trial.steps": 5000})


def trials(count: int = 8, running: Sequence[int] = ()) -> list[TrialResult]:
    """Trials of which some still run."""
    return [
        replace(trial, key=f"start-{trial.number}")
        if trial.number not in running
        else replace(trial, key=f"tpe-{trial.number}", state="running", seconds=0.0)
        for trial in made_up_trials(count)
    ]


def lines(moment: Moment, width: int = 120, height: int = 40) -> list[str]:
    return str(search_table(SETTINGS, moment, width=width, height=height)).splitlines()


def test_the_table_says_how_each_trial_stands() -> None:
    said = lines(Moment(trials(8, running=[6, 7]), {6: 63.0}, workers=3))
    assert "6/24 trials" in said[0]
    assert "1 pruned · 1 failed · 3 workers" in said[1]
    rows = {line.split()[0]: line for line in said[4:-1]}
    assert "running" in rows["6"]
    assert "20/5000" in rows["6"]
    assert "1m 03s" in rows["6"]
    assert "10/5000" in rows["2"]
    assert "pruned" in rows["2"]
    assert "0/5000" in rows["5"]
    assert said[-1] == "Trial 5 failed: NaN <in step> 3"


def test_the_best_is_marked_and_compared_with_the_default() -> None:
    table = search_table(SETTINGS, Moment(trials(8)), width=120, height=40)
    said = str(table).splitlines()
    # Trial 4 has 12 mod 8 = 4; trial 7 has 21 mod 8 = 5, and none that is complete has more.
    assert said[1].startswith("best Ω 2.0500 (trial 7, default 3.0500)")
    (marked,) = [line for line in said if "★" in line]
    assert marked.split()[:3] == ["★", "7", "start-7"]
    assert "1.000" in marked.split()  # its EPE
    start = str(table).index(marked)
    assert any(span.style == "bold green" and span.start == start for span in table.spans)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("height", [12, 24, 50])
def test_the_table_fits_the_terminal(width: int, height: int) -> None:
    many = [replace(t, number=n) for n, t in enumerate(trials(8) * 125)]
    population = replace(many[-1], state="running", key="member-2-generation-11", generation=11)
    said = lines(Moment([*many[:-1], population], workers=64), width, height)
    assert len(said) < height
    assert all(len(line) <= width for line in said)
    assert "…" not in "".join(said)
    assert len({len(line) for line in said[3:-1]}) == 1  # columns are aligned
    shown = [line for line in said if "gen" in line]
    assert len(shown) == 1
    assert "running" in shown[0]


def test_what_cannot_fit_is_cut() -> None:
    failed = [replace(trials(1)[0], state="failed", course=(), reason="x" * 200)]
    said = lines(Moment(failed), width=80)
    assert len(said[-1]) == 80
    assert said[-1].endswith("…")


def test_running_trials_and_the_best_are_shown_first() -> None:
    many = [replace(t, number=n) for n, t in enumerate(trials(8) * 10)]
    many[3] = replace(many[3], state="running")
    said = "\n".join(lines(Moment(many), height=10))
    assert "running" in said
    assert "★ 7 " in said


def test_before_the_first_trial_there_is_no_table() -> None:
    assert len(lines(Moment(()))) == 2
    assert "no best yet" in lines(Moment(()))[1]


def test_time_left_is_that_of_trials_but_at_most_the_budgets() -> None:
    ended = trials(8)  # of 2 s each
    assert time_left(Moment(ended, workers=2), 24) == pytest.approx(16 * 2.0 / 2)
    running = trials(8, running=[6, 7])
    assert time_left(Moment(running, workers=2), 24) == pytest.approx((18 - 1) * 2.0 / 2)
    assert time_left(Moment(ended, seconds_left=5.0), 24) == 5.0
    assert time_left(Moment(ended, seconds_left=500.0), 24) == pytest.approx(32.0)
    assert time_left(Moment(()), 24) is None
    assert time_left(Moment((), seconds_left=5.0), 24) == 5.0
    assert time_left(Moment(ended), 8) == 0


def test_a_running_trial_shows_the_step_that_it_has_told_of() -> None:
    first, second = trials(2, running=[0, 1])
    moment = Moment([replace(first, step=1234), replace(second, step=1)], workers=2)
    rows = lines(moment)[4:]
    assert "1234/5000" in rows[0]
    assert "20/5000" in rows[1]  # measured since
    assert rows[0].split()[4] == f"{first.omega:.4f}"


def test_a_search_that_is_over_has_neither_workers_nor_time_left() -> None:
    """What stands in the terminal while the network at the end is trained."""
    during = lines(Moment(trials(8), workers=2, seconds_left=300.0))
    assert "8/24 trials, 16s left for them" in during[0]
    assert during[1].endswith("2 workers")
    after = lines(Moment(trials(8), workers=0, seconds_left=300.0))
    assert "8/24 trials ·" in after[0]
    assert "worker" not in after[1]
