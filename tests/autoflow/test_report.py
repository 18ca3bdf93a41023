import re
from html.parser import HTMLParser

import numpy as np
import pytest
from known import made_up_trials

from autoflow.hyperparameters import Hyperparameters
from autoflow.report.page import Figure, Search, importance, render_report
from autoflow.space import searched

SPACE = searched(Hyperparameters())


def searched_on(target: str = "sample", labelled: bool = True, count: int = 8) -> Search:
    picture = np.zeros((8, 8, 3), np.uint8)
    return Search(
        name="s-af",
        target=target,
        metric="s-af",
        trials=made_up_trials(count, labelled),
        space=SPACE,
        figures=[Figure("Samples", "What it renders.", picture)],
        costs={"trials": 90.0},
        settings={"seed": "0"},
    )


class Balanced(HTMLParser):
    """Checks that every element that is opened is closed, in order."""

    VOID = frozenset({"meta", "img", "br", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_file_that_needs_nothing_from_elsewhere() -> None:
    page = render_report(searched_on())
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 5
    assert all(source.startswith("data:image/") for source in sources)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)


def test_the_report_says_what_was_found() -> None:
    page = render_report(searched_on())
    best = min((t for t in made_up_trials() if t.state == "complete"), key=lambda t: t.omega)
    assert f"Trial {best.number} describes the best training set" in page
    assert "1.00" in page  # Spearman's ρ of trials whose orders agree
    assert "6 complete, 1 pruned" in page
    assert "NaN &lt;in step&gt; 3" in page
    assert "endpoint error" in page


def test_names_are_escaped() -> None:
    assert "<script>" not in render_report(searched_on("<script>alert(1)</script>"))


def test_without_labels_there_is_no_word_of_agreement() -> None:
    page = render_report(searched_on(labelled=False))
    assert "Spearman" not in page
    assert "Does Ω tell good sets?" not in page


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_search_that_has_hardly_begun_has_a_report(count: int) -> None:
    page = render_report(searched_on(count=count))
    assert ("No trial is complete yet" in page) == (count == 0)


def test_importance_finds_the_parameter_that_orders_the_trials() -> None:
    trials = made_up_trials(20)
    for trial in trials:
        trial.parameters["effects.fog"] = trial.omega / 10
    weights = importance(trials, SPACE)
    assert next(iter(weights)) == "effects.fog"
    assert weights["effects.fog"] == pytest.approx(1)
    assert importance(trials[:5], SPACE) == {}
