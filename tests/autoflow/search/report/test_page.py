"""The report of made-up studies: one file, the facts in it, and as little as there may be."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from studies import made_up_population, made_up_study, search_on

from autoflow.search.report.findings import Findings, find
from autoflow.search.report.page import Figure, render_report
from autoflow.search.report.spending import Part
from autoflow.search.report.tables import write_tables
from autoflow.search.results import TrialResult, ranked
from selfflow.runs.run import to_json

PICTURE = Figure("Samples", "What it renders.", np.zeros((8, 8, 3), np.uint8))


def with_errors(trials: Sequence[TrialResult], sign: float) -> list[TrialResult]:
    """The trials with errors that are Ω, up to the sign."""
    return [
        replace(t, course=tuple(replace(m, aepe=sign * m.omega) for m in t.course)) for t in trials
    ]


def first_rung(trials: Sequence[TrialResult]) -> list[TrialResult]:
    return [replace(trial, state="pruned", course=trial.course[:1]) for trial in trials]


STUDIES = {
    "many trials": search_on(made_up_study(60)),
    "without labels": search_on(made_up_study(24, labelled=False), space={}),
    "a population": search_on(made_up_population(4, 3), strategy="pbt"),
    "one trial": search_on(made_up_study(1), wanted=50),
    "none": search_on([], wanted=50),
    "running": search_on(
        [replace(t, state="running", course=t.course[:1]) for t in made_up_study(3)], wanted=50
    ),
    "one order": search_on(first_rung(with_errors(made_up_study(7), 1)), space={}),
    "opposite orders": search_on(first_rung(with_errors(made_up_study(7), -1)), space={}),
    "all failed": search_on(
        [replace(t, state="failed", course=(), reason="out of <memory>") for t in made_up_study(9)]
    ),
}


@cache
def findings(name: str) -> Findings:
    return find(STUDIES[name])


@cache
def page_of(name: str) -> str:
    return render_report(findings(name), [PICTURE])


@pytest.mark.parametrize("name", STUDIES)
def test_the_report_is_one_file_that_needs_nothing_from_elsewhere(
    name: str, tmp_path: Path
) -> None:
    write_tables(tmp_path, findings(name).tables)
    (tmp_path / "trials.csv").write_text("")
    page = Page(text := page_of(name))
    assert page.images
    assert all(source.startswith("data:image/") for source in page.images)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    for link in page.links:
        assert link[1:] in page.names if link[0] == "#" else (tmp_path / link).exists(), link


@pytest.mark.parametrize("name", STUDIES)
def test_the_facts_are_json_and_agree_with_the_trials(name: str) -> None:
    search = STUDIES[name]
    facts = json.loads(to_json(findings(name).as_dict()))
    ended = [trial for trial in search.trials if trial.state != "running"]
    assert facts["trials"] == len(ended)
    assert facts["complete"] + facts["pruned"] + facts["failed"] == len(ended)
    order = ranked(search.trials)
    assert facts["best_trial"] == (order[0].number if order else None)
    assert len(facts["best_sets"]) == min(3, sum(not trial.is_default for trial in order))


def test_every_chart_has_its_data_as_a_table(tmp_path: Path) -> None:
    found, page = findings("many trials"), page_of("many trials")
    write_tables(tmp_path, found.tables)
    for figure in re.findall(r"<figure>.*?</figure>", page, re.S):
        assert ".csv" in figure or "Ω against" in figure
    rows = list(csv.DictReader((tmp_path / "tables" / "slices.csv").read_text().splitlines()))
    assert len({row["parameter"] for row in rows}) == 6
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {
        name for name, table in found.tables.items() if table
    }


def test_what_is_spent_beside_the_trials_is_part_of_the_sum() -> None:
    trials = made_up_study(12)
    search = search_on(trials, parts=[Part("training at the end", 12345, 100.0)])
    found = find(search)
    text = render_report(found, [PICTURE])
    trained = sum(row["steps"] for row in found.tables["spending"])
    (row,) = re.findall(r"<tr><td>training at the end</td>.*?</tr>", text, re.S)
    assert "<td>12345</td>" in row
    (row,) = re.findall(r'<tr class="best"><td>together</td>.*?</tr>', text, re.S)
    assert f"<td>{trained + 12345}</td>" in row
    assert found.seconds == pytest.approx(sum(t.seconds for t in trials) + 100)
    assert "tables/parts.csv" in text


def test_the_report_says_what_was_found() -> None:
    search, page = STUDIES["many trials"], page_of("many trials")
    best = ranked(search.trials)[0]
    assert f"Trial {best.number} describes the best training set" in page
    counted = [sum(t.state == s for t in search.trials) for s in ("complete", "pruned")]
    assert f"{counted[0]} complete, {counted[1]} pruned" in page
    assert "Ω is not finite after 30 steps" in page
    assert "a clip shows fog" in page
    trust = findings("many trials").trust
    assert trust is not None
    assert f"{trust['rho']:.2f} [{trust['low']:.2f}, {trust['high']:.2f}]".replace("-", "−") in page


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (with_errors(made_up_study(12), 1), "yes"),
        (with_errors(made_up_study(12), -1), "opposite"),
        (made_up_study(5), "inconclusive"),
        (made_up_study(12, labelled=False), None),
    ],
)
def test_the_verdict_on_omega_follows_the_interval(
    trials: Sequence[TrialResult], said: str | None
) -> None:
    assert find(search_on(trials)).verdict == said


def test_the_verdict_is_on_the_page() -> None:
    assert findings("one order").verdict == "yes"
    assert "Ω tells better sets from worse ones here" in page_of("one order")
    assert "Ω misleads here" in page_of("opposite orders")
    assert "Inconclusive:</b> the interval contains 0" in page_of("running")


def test_a_search_for_the_least_error_does_not_claim_to_be_without_labels() -> None:
    trials = [
        replace(t, course=tuple(replace(m, omega=m.aepe) for m in t.course))
        for t in made_up_study(4)
    ]
    found = find(search_on(trials, metric="aepe", space={}))
    page = render_report(found)
    assert found.trust is None
    assert "which the search did not see" not in page
    assert "the search minimised the endpoint error itself" in page.lower()


def test_names_and_reasons_are_escaped() -> None:
    assert "<script>" not in render_report(
        find(search_on(made_up_study(2), target="<script>alert(1)</script>"))
    )
    assert "out of &lt;memory&gt;" in page_of("all failed")


def test_without_labels_there_is_no_word_of_agreement() -> None:
    page = page_of("without labels")
    assert "Spearman’s" not in page
    assert "The flow of this target is not known" in page


def test_a_search_that_has_hardly_begun_or_has_failed_says_so() -> None:
    assert "No trial is complete yet" in page_of("none")
    running = page_of("running")
    assert "No trial is complete yet" in running
    assert "0 of 50 trials have ended, 3 more were running" in running
    assert "No trial is complete: 9 of 9 failed" in page_of("all failed")


def test_a_population_has_its_lineage_and_schedule() -> None:
    page = page_of("a population")
    assert "The population’s lineage" in page
    assert "The schedule of the best trial" in page
    assert "lineage" not in page_of("many trials")


def test_the_same_findings_give_the_same_page() -> None:
    assert render_report(find(STUDIES["one trial"]), [PICTURE]) == page_of("one trial")
