"""The tables as a README shows them: what was measured, in few lines."""

from collections.abc import Mapping, Sequence

from benchmarks.evidence.analysis import BALANCED, FULL, NEAR, RANDOM, SCORES, Row
from benchmarks.evidence.outcomes import ERROR, OMEGA, TERMS, Outcomes
from benchmarks.evidence.pool import DEFAULT, FOUND, MIXED
from benchmarks.evidence.recipe import Recipe
from benchmarks.evidence.trainings import ANOTHER
from selfflow.runs.progress import format_duration

NAMES = {
    OMEGA: "Ω, published weights",
    BALANCED: "Ω, balanced",
    TERMS[0]: "photometric, uncovered charged",
    TERMS[1]: "photometric, covered only",
    TERMS[2]: "smoothness",
    TERMS[3]: "distillation",
    ERROR: "end-point error",
    DEFAULT: "the default set",
    FOUND: "the found set",
    MIXED: "top-3 mixture",
    RANDOM: "random sets, median",
}
NONE = "–"


def markdown(
    recipe: Recipe, tables: Mapping[str, Sequence[Row]], left: Mapping[str, str], outcomes: Outcomes
) -> str:
    """Return the four tables, each with a line that says how to read it, and what is missing."""
    parts = [
        _setting(recipe, outcomes),
        _noise(recipe, tables["noise"]),
        _correlation(recipe, tables["correlation"]),
        _comparison(recipe, tables["comparison"]),
        _cost(tables["cost"], left),
    ]
    if left:
        parts.append("Not finished: " + "; ".join(f"{k}: {v}" for k, v in left.items()) + ".\n")
    return "\n".join(parts)


def _setting(recipe: Recipe, outcomes: Outcomes) -> str:
    targets = ", ".join(each.name for each in recipe.targets)
    failed = f" {len(outcomes.failed)} diverged." if outcomes.failed else ""
    found = f"TPE, {recipe.trials} trials" if recipe.trials else "the pool's lowest Ω"
    networks = len({each.training for each in outcomes.every})
    return (
        f"{recipe.training.describe()}. A short training is {recipe.short.steps} steps from "
        f"`{recipe.base}`, a full one {recipe.full.steps} from nothing. Found on "
        f"{recipe.targets[0].name} alone, without its flow ({found}). Measured on {targets}; "
        f"errors are geometric means over the pairs. {networks} networks were trained and "
        f"measured in {format_duration(outcomes.seconds)}.{failed}\n"
    )


def _noise(recipe: Recipe, rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row["quantity"] not in (OMEGA, ERROR):
            continue
        percent = row["quantity"] == ERROR
        columns = [
            _spread(row.get(key), percent)
            for key in (
                f"{DEFAULT}, over seeds",
                f"{ANOTHER}, over seeds",
                "over near sets",
                "over sets",
            )
        ]
        lines.append([row["target"], NAMES[row["quantity"]], *columns])
    head = ["target", "", "default, over seeds", "a random set, over seeds", "over near sets"]
    return (
        f"Noise: standard deviations over {recipe.noise_seeds} seeds of one set, beside those over "
        "sets with one seed.\n\n" + table([*head, "over all sets"], lines)
    )


def _spread(value: float | None, percent: bool) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def _correlation(recipe: Recipe, rows: Sequence[Row]) -> str:
    targets = [each.name for each in recipe.targets]
    counts = {row["sets"]: row["count"] for row in rows}
    shown = {("all", score): NAMES[score] for score in SCORES}
    shown[NEAR, OMEGA] = f"{NAMES[OMEGA]}, near sets alone"
    shown[FULL, OMEGA] = f"{NAMES[OMEGA]}, {counts[FULL]} full trainings"
    by_place = {(row["target"], row["sets"], row["score"]): row for row in rows}
    lines = [
        [name, *(_rho(by_place[target, *place]) for target in targets)]
        for place, name in shown.items()
    ]
    return (
        f"Spearman's ρ with the end-point error over {counts['all']} sets (default, {recipe.near} "
        f"near it, {recipe.wide} random ones), 95 % bootstrap interval, permutation p.\n\n"
        + table(["", *targets], lines)
    )


def _rho(row: Row) -> str:
    if row.get("rho") is None:
        return NONE
    p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}"
    return f"{row['rho']:.2f} [{row['low']:.2f}, {row['high']:.2f}], {p}"


def _comparison(recipe: Recipe, rows: Sequence[Row]) -> str:
    targets = [each.name for each in recipe.targets]
    lines = []
    for name in (DEFAULT, FOUND, MIXED, RANDOM):
        of_set = {row["target"]: row for row in rows if row["sets"] == name}
        lines.append([NAMES[name], *(_error(of_set[target]) for target in targets)])
    return (
        f"End-point error in px after {recipe.short.steps} steps, {recipe.compared_seeds} seeds; "
        "in brackets the ratio to the default's with the same seed, 95 % interval.\n\n"
        + table(["", *targets], lines)
    )


def _error(row: Row) -> str:
    if row["error"] is None:
        return NONE
    shown = f"{row['error']:.3f}"
    if row["sets"] == DEFAULT:
        return shown
    if row["ratio"] == 1 and row["over seeds"]:
        return f"{shown} (it is the default set)"
    if row["low"] is None:
        return shown
    return f"{shown} ({row['low']:.2f} to {row['high']:.2f}{_verdict(row['low'], row['high'])})"


def _verdict(low: float, high: float) -> str:
    if low <= 1 <= high:
        return ", inconclusive"
    return ", better" if high < 1 else ", worse"


def _cost(rows: Sequence[Row], left: Mapping[str, str]) -> str:
    if not rows:
        why = "not measured yet" if "full trainings" in left else "inconclusive, no set is better"
        return f"Cost: {why}.\n"
    first = rows[0]
    lines = [[row["way"], f"{row['steps']:.0f}", f"{100 * row['share']:.0f} %"] for row in rows]
    seeds = first["default, over seeds"]
    noise = "" if seeds is None else f", ± {seeds:.3f} over seeds"
    default = f"the default's Ω ({first['default']:.3f}{noise})"
    if first["from"] == DEFAULT:
        said, start = "", default
    else:
        said = f"No set is better than {default} after a full training; so there is no gap to the "
        said += "default, and the one from random sets is looked at. "
        start = f"the median random set's Ω ({first['start']:.3f})"
    return (
        f"{said}Expected steps until a full training closes 95 % of the gap between {start} and "
        f"the best ({first['best']:.3f}) of {first['sets']} sets ({first['reach the goal']} do), "
        "replayed in random order.\n\n" + table(["", "steps", "of every set fully"], lines)
    )


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
