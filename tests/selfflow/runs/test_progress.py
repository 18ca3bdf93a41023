from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from selfflow.runs.progress import format_duration, live, parse_duration, progress, track


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("10min", 600),
        ("1.5d", 129600),
        ("45", 45),
        (45, 45),
        (0.25, 0.25),
        (1e-9, 1e-9),
    ],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 hours", "h", "-3s", "1h30x", "1..5h"])
def test_other_durations_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="looks like"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2s"), (59.4, "59s"), (59.9, "1m 00s"), (90, "1m 30s"), (7500, "2h 05m")],
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0.1, 1e6))
def test_a_written_duration_is_close_to_what_it_says(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.05)


def test_tracking_yields_every_item_and_is_quiet_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    assert list(track(iter("ab"), "Letters")) == ["a", "b"]
    with progress("Working", 2) as bar:
        bar.advance(note="loss 1")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_the_bar_shows_title_rate_and_note_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr("selfflow.runs.progress.console", terminal)
    with progress("Training", 10, done=4) as bar:
        bar.advance(2, note="loss 0.25")
    shown = terminal.file.getvalue()
    assert "Training" in shown
    assert "6/10" in shown
    assert "loss 0.25" in shown


def test_a_long_note_takes_nothing_from_count_and_time_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("selfflow.runs.progress.console", terminal)
    note = "loss 0.5321, 4.12 images/s, 27% in flow, 38% valid, probe miou 0.203"
    with progress("Pre-training (multisiam)", 800, done=4) as bar:
        bar.advance(2, note=note)
    shown = terminal.file.getvalue()
    assert "Pre-training (multisiam)" in shown
    assert "6/800" in shown
    assert "-:--:--" in shown
    assert all(word in shown for word in note.split())


def test_a_live_display_is_shown_alone_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr("selfflow.runs.progress.console", terminal)
    state = ["first"]
    with live(lambda: state[0]):
        state[0] = "last"
        with progress("Training", 10) as bar:
            bar.advance()
        terminal.print("said meanwhile")
    shown = terminal.file.getvalue()
    assert "first" in shown
    assert shown.index("said meanwhile") < shown.rindex("last")
    assert "Training" not in shown
    with progress("Training", 10) as bar:
        bar.advance()
    assert "Training" in terminal.file.getvalue()
