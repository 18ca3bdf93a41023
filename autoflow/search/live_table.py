"""What `autoflow search` shows while it is at work: recent and running trials, the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from autoflow.search.results import TrialResult, ranked
from autoflow.search.settings import SearchSettings
from selfflow.runs.progress import format_duration
from selfflow.runs.wording import counted

WIDE = 110  # columns of a terminal that has room for whole words
_BAR = 30
_FEWEST_ROWS = 3
_AROUND = 7  # lines that are no trials: heading, space, names of columns, failure, the cursor's
_STYLES = {"running": "cyan", "pruned": "dim", "failed": "red", "complete": ""}
_BEST = "bold green"
_LEFT = ("key", "state")  # columns that are not right-aligned


@dataclass(frozen=True)
class Moment:
    """A search as it is now.

    Attributes:
        trials: all that count, in order of their numbers.
        elapsed: seconds since the beginning of running trials, by number.
        workers: processes that take trials, as far as is known here; 0: it is over.
        seconds_left: until no more trials are run; None: no budget.
    """

    trials: Sequence[TrialResult]
    elapsed: Mapping[int, float] = field(default_factory=dict)
    workers: int = 1
    seconds_left: float | None = None

    @property
    def ended(self) -> list[TrialResult]:
        """The trials that came to an end."""
        return [trial for trial in self.trials if trial.state != "running"]


def time_left(moment: Moment, wanted: int) -> float | None:
    """Return the seconds until `wanted` trials have ended, at most those of the budget.

    Those that run are counted as half done. None before the first has ended, without a budget.
    """
    ended = moment.ended
    running = len(moment.trials) - len(ended)
    waiting = max(wanted - len(ended), 0)
    limits = [] if moment.seconds_left is None else [max(moment.seconds_left, 0.0)]
    if ended:
        typical = sum(trial.seconds for trial in ended) / len(ended)
        limits.append((waiting - min(running, waiting) / 2) * typical / max(moment.workers, 1))
    return min(limits, default=None)


def search_table(settings: SearchSettings, moment: Moment, *, width: int, height: int) -> Text:
    """Return the search as a heading and a table that fits a terminal of `width` x `height`.

    It is put together here, since a table of rich's takes ten times as long to draw.
    """
    order = ranked(moment.trials)
    best = order[0] if order else None
    rows = _shown(moment, best, max(height - _AROUND, _FEWEST_ROWS))
    lines = [(_heading(settings, moment), "bold"), (_outcome(moment, best), "")]
    if rows:
        titles, *cells = _columns(settings, moment, rows, best, wide=width >= WIDE)
        lines += [("", ""), (titles, "bold")]
        styles = [_BEST if trial is best else _STYLES[trial.state] for trial in rows]
        lines += zip(cells, styles, strict=True)
    failed = [trial for trial in moment.trials if trial.state == "failed"]
    if failed:
        lines.append((f"Trial {failed[-1].number} failed: {failed[-1].reason}", "red"))
    shown = [
        (line if len(line) <= width else line[: width - 1] + "…", style) for line, style in lines
    ]
    return Text("\n", no_wrap=True).join(Text(line, style) for line, style in shown)


def _heading(settings: SearchSettings, moment: Moment) -> str:
    ended = len(moment.ended)
    left = time_left(moment, settings.trials) if moment.workers else None
    done = _BAR * min(ended, settings.trials) // settings.trials
    bar = "━" * done + "─" * (_BAR - done)
    said = "" if left is None else f", {format_duration(left)} left for them"
    what = f"{settings.strategy} on {settings.target}"
    return f"{bar} {ended}/{settings.trials} trials{said} · {what}"


def _outcome(moment: Moment, best: TrialResult | None) -> str:
    counts = {
        state: sum(trial.state == state for trial in moment.trials)
        for state in ("pruned", "failed")
    }
    default = next((t for t in moment.trials if t.is_default and t.state == "complete"), None)
    beside = f", default {default.omega:.4f}" if default is not None and best != default else ""
    parts = [
        f"best Ω {best.omega:.4f} (trial {best.number}{beside})" if best else "no best yet",
        *(f"{count} {state}" for state, count in counts.items() if count),
        *([counted(moment.workers, "worker")] if moment.workers else []),
    ]
    return " · ".join(parts)


def _shown(moment: Moment, best: TrialResult | None, room: int) -> list[TrialResult]:
    """Return the best trial, the running and the latest others, in order, at most `room`."""
    first = [trial for trial in moment.trials if trial.state == "running" and trial is not best]
    latest = [trial for trial in reversed(moment.trials) if trial.state != "running"]
    chosen = dict.fromkeys(t.number for t in [*([best] if best else []), *first, *latest])
    numbers = set(list(chosen)[:room])
    return [trial for trial in moment.trials if trial.number in numbers]


def _columns(
    settings: SearchSettings,
    moment: Moment,
    rows: Sequence[TrialResult],
    best: TrialResult | None,
    *,
    wide: bool,
) -> list[str]:
    """Return the columns' names and the rows as lines."""
    cells = [_cells(settings, moment, trial, wide) for trial in rows]
    for row, trial in zip(cells, rows, strict=True):
        row["trial"] = f"★ {trial.number}" if trial is best else str(trial.number)
    names = [name for name in cells[0] if name != "EPE" or any(row[name] for row in cells)]
    widths = [max(len(name), *(len(row[name]) for row in cells)) for name in names]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.ljust(width) if name in _LEFT else value.rjust(width)
            for name, value, width in zip(names, values, widths, strict=True)
        )
        return ("  " if wide else " ").join(padded)

    return [line(names), *(line([row[name] for name in names]) for row in cells)]


def _cells(
    settings: SearchSettings, moment: Moment, trial: TrialResult, wide: bool
) -> dict[str, str]:
    """Return what the table says of a trial, by column."""
    last = trial.last
    steps = str(max(trial.step, last.step if last else 0))
    digits = 4 if wide else 3
    terms = {
        "photometric" if wide else "photom": last and last.photometric,
        "smoothness" if wide else "smooth": last and last.smoothness,
        "distillation" if wide else "distil": last and last.distillation,
    }
    return {
        "trial": str(trial.number),
        "key": trial.key if wide else "-".join(word[:3] for word in trial.key.split("-")),
        "state": trial.state,
        "steps": f"{steps}/{settings.trial.steps * (trial.generation + 1)}" if wide else steps,
        "Ω": f"{last.omega:.4f}" if last else "",
        **{n: "" if value is None else f"{value:.{digits}f}" for n, value in terms.items()},
        "covered" if wide else "cov": f"{100 * last.covered:.0f}%" if last else "",
        "EPE": f"{last.aepe:.3f}" if last and last.aepe is not None else "",
        "time": format_duration(moment.elapsed.get(trial.number, trial.seconds)),
    }
