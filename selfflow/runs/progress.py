"""Time and progress as a person sees them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

T = TypeVar("T")

# Standard output is for results; everything said along the way goes to standard error.
console = Console(stderr=True, highlight=False)
_displays: list[Live] = []

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "": 1.0}


def parse_duration(value: str | float) -> float:
    """Return the seconds of "2h", "90s", "1h30m", "1.5d" or a number; ValueError for the rest."""
    if isinstance(value, int | float):
        return float(value)
    text = re.sub(r"\s", "", value)
    parts = re.findall(r"(\d+(?:\.\d+)?)(min|[dhms]|)", text)
    if not text or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration looks like 2h, 1h30m or 90s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]


def format_duration(seconds: float) -> str:
    """Return a duration to two units: "2h 05m", "1m 30s", "4.2s"."""
    if seconds < 59.5:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}m {round(seconds) % 60:02d}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h {minutes:02d}m"


class _Rate(ProgressColumn):
    """Things a second, or seconds a thing where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


class Bar:
    """One bar of a `progress` display."""

    def __init__(self, display: Progress, task: Any) -> None:
        self._display, self._task = display, task

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Move on by `count`; `note` is shown beside the bar (the loss, say)."""
        self._display.update(self._task, advance=count)
        if note is not None:
            self._display.update(self._task, note=note)


@contextmanager
def progress(title: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
    """Show a bar with rate and time left; nothing beside a `live` display or without a terminal."""
    # On a narrow terminal the bar gets shorter, and a long note goes on in the next line.
    whole = partial(Column, no_wrap=True)
    columns = (
        TextColumn("{task.description}", table_column=whole()),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=whole()),
        _Rate(table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
        TextColumn("{task.fields[note]}", table_column=Column()),
    )
    quiet = not console.is_terminal or bool(_displays)
    with Progress(*columns, console=console, disable=quiet, transient=True) as display:
        yield Bar(display, display.add_task(title, total=total, completed=done, note=""))


@contextmanager
def live(show: Callable[[], RenderableType]) -> Iterator[None]:
    """Show what `show` returns, asked about once a second, below all that is printed meanwhile.

    Its last state stays on the terminal. There has to be one.
    """
    with Live(get_renderable=show, console=console, refresh_per_second=1) as display:
        _displays.append(display)
        display.refresh()
        try:
            yield
        finally:
            _displays.remove(display)


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Yield the items while a bar shows how far it is; nothing where there is no terminal."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance()
