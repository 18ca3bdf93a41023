from dataclasses import replace

import pytest
from studies import WEIGHTS, made_up_study, search_on

from autoflow.search.objective import weighted
from autoflow.search.report.findings import find
from autoflow.search.report.page import render_report
from autoflow.search.report.reweighting import folder_name, formula, read_weights, reweighted, shift
from autoflow.search.results import ranked
from selfflow.runs.errors import UserError

ONLY_SMOOTH = read_weights("photometric=0,smoothness=1,distillation=0", WEIGHTS)


def test_weights_are_read_and_those_that_are_not_named_stay() -> None:
    found = read_weights("smoothness=2, distillation = 0.5", WEIGHTS)
    assert (found.photometric, found.smoothness, found.distillation) == (1.0, 2.0, 0.5)
    assert read_weights("photometric=1,smoothness=2.5,distillation=0.3", WEIGHTS) == WEIGHTS
    assert formula(found) == "1 photometric + 2 smoothness + 0.5 distillation"
    assert folder_name(found) == "photometric=1,smoothness=2,distillation=0.5"
    assert formula(ONLY_SMOOTH) == "1 smoothness"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no term"),
        ("smooth=1", "smooth is no term"),
        ("smoothness", "smoothness= is no weight"),
        ("smoothness=two", "smoothness=two is no weight"),
        ("smoothness=-1", "smoothness=-1 is no weight"),
        ("smoothness=nan", "smoothness=nan is no weight"),
        ("smoothness=inf", "smoothness=inf is no weight"),
        ("smoothness=1,smoothness=2", "smoothness is there twice"),
        ("smoothness=1,", "is no term"),
        ("photometric=0,smoothness=0,distillation=0", "all are 0"),
    ],
)
def test_what_are_no_weights_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read_weights(text, WEIGHTS)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_every_measurement_gets_the_weighted_sum_of_its_own_terms() -> None:
    trials = made_up_study(20)
    for before, after in zip(trials, reweighted(trials, ONLY_SMOOTH), strict=True):
        assert [m.omega for m in after.course] == [m.smoothness for m in before.course]
        assert [replace(m, omega=0.0) for m in after.course] == [
            replace(m, omega=0.0) for m in before.course
        ]
    again = reweighted(reweighted(trials, ONLY_SMOOTH), WEIGHTS)
    for before, after in zip(trials, again, strict=True):
        assert [m.omega for m in after.course] == [weighted(m, WEIGHTS) for m in before.course]


def shifted(count: int, weights=ONLY_SMOOTH):
    trials = made_up_study(count)
    old = find(search_on(trials, space={}))
    new = find(search_on(reweighted(trials, weights), weights=weights, space={}))
    return old, new, shift(old, new, formula(WEIGHTS))


def test_what_changes_is_told_in_the_new_order() -> None:
    old, new, changed = shifted(60)
    assert changed.best_before is old.order[0]
    assert changed.best_after is new.order[0]
    assert [row["rank"] for row in changed.rows] == list(range(1, len(new.order) + 1))
    for row in changed.rows:
        assert old.order[row["rank_before"] - 1].number == row["trial"]
        assert new.order[row["rank"] - 1].omega == row["omega"]
    assert changed.agreement is not None
    assert changed.agreement.rho < 0.9
    first = {trial.number for trial in old.order[:3]}
    assert set(changed.kept) == first & {trial.number for trial in new.order[:3]}


def test_the_same_weights_change_nothing() -> None:
    old, _, changed = shifted(40, WEIGHTS)
    assert changed.best_after.number == old.order[0].number
    assert changed.agreement.rho == pytest.approx(1)
    assert len(changed.kept) == 3


def test_pruned_trials_that_would_have_been_ahead_are_named() -> None:
    _, new, changed = shifted(60)
    complete = {trial.number for trial in ranked(new.search.trials)}
    for trial in new.search.trials:
        if trial.state != "pruned":
            assert trial.number not in changed.ahead
            continue
        step = trial.last.step
        there = [m.omega for t in new.search.trials for m in t.course
                 if t.number in complete and m.step == step]  # fmt: skip
        better = sum(trial.omega < omega for omega in there) > len(there) / 2
        assert (trial.number in changed.ahead) == better
    assert changed.ahead


def test_the_page_says_what_the_other_weights_change() -> None:
    _, new, changed = shifted(12)
    page = render_report(new, shift=changed)
    assert "Ranked again with other weights: Ω = 1 smoothness." in page
    assert f"The best set is now that of trial {changed.best_after.number}" in page
    assert f"trial {changed.best_before.number} was the best one" in page


def test_without_complete_trials_nothing_changes_yet() -> None:
    _, new, changed = shifted(0)
    assert (changed.best_after, changed.rows, changed.agreement) == (None, [], None)
    assert "Nothing yet: no trial is complete." in render_report(new, shift=changed)
    assert all(value in (None, [], changed.before, changed.after)
               for value in changed.as_dict().values())  # fmt: skip
