"""All pre-training methods side by side: `python -m benchmarks.methods --target TARGET`.

Each method's recipe for two cores (`configs/pretrain/NAME-quick.toml`) is trained on the target,
and what its frozen features are worth is read out by `representation readout segmentation`, beside
an encoder of random weights. The readout's images may be a part of the target's own, as in CamVid,
where one linear layer is trained on one half of a drive and tested on the other.

Killed, the same command goes on. After each readout `table.md`, `table.csv` and `results.json` in
the run folder say what is known so far. On a machine that is shared, the processors' time says more
than the clock's: "core minutes" are a training's, the flow that it computed included.
"""

import csv
import json
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from representation.cli import main as representation
from representation.methods import METHODS
from selfflow.runs.cli import Group
from selfflow.runs.config import read_toml
from selfflow.runs.environment import environment
from selfflow.runs.errors import UserError
from selfflow.runs.run import read_json, read_table, to_json, write_text

RECIPES = Path(__file__).parents[1] / "configs" / "pretrain"
RANDOM = "random"
# One half of a drive and the other, of which neighbours are alike; every ResNet at the same stride.
READOUT = (
    "parts.train=val:0-50%",
    "parts.test=val:50-100%",
    "block=5",
    "output_stride=8",
    "loop.steps=500",
    "training.pixels=1024",
)
COLUMNS = (
    ("method", "{}"),
    ("seed", "{}"),
    ("mIoU", "{:.1f}"),
    ("low", "{:.1f}"),
    ("high", "{:.1f}"),
    ("steps", "{}"),
    ("batch", "{}"),
    ("minutes", "{:.1f}"),
    ("core minutes", "{:.1f}"),
    ("images/s", "{:.1f}"),
    ("loss first", "{:.3g}"),
    ("loss highest", "{:.3g}"),
    ("loss last", "{:.3g}"),
    ("accuracy last", "{:.2f}"),
    ("spread last", "{:.2f}"),
)
Row = dict[str, Any]


def run(command: Sequence[str], spent: Path | None = None) -> None:
    """Run a command of `representation`; add the processors' seconds that it took to a file."""
    before = time.process_time()
    try:
        code = representation(args=list(command), standalone_mode=False)
    finally:
        if spent is not None:
            earlier = read_json(spent) if spent.exists() else 0.0
            write_text(spent, f"{earlier + time.process_time() - before:.1f}\n")
    if code:  # Ctrl-C
        raise SystemExit(code)


def pretrained(name: str, seed: int, out: Path, given: Sequence[str]) -> Path:
    """Return the folder of a method's complete run, after what was missing of it."""
    folder = out / "runs" / f"{name}-{seed}"
    if not (folder / "results.json").exists():
        recipe = str(RECIPES / f"{name}-quick.toml")
        stored = str(folder.absolute() / "encoder.safetensors")
        where = ["--out", str(folder), "--name", stored, "--seed", str(seed)]
        run(["pretrain", "--config", recipe, *where, *given], out / "spent" / f"{name}-{seed}.json")
    return folder


def readout(name: str, seed: int, out: Path, given: Sequence[str]) -> dict[str, Any]:
    """Return what the readout of a method's encoder found, after what was missing of it."""
    folder = out / "readouts" / f"{name}-{seed}"
    if not (folder / "result.json").exists():
        encoder = [RANDOM, "--architecture", "resnet18", "--seed", str(seed)]
        if name != RANDOM:
            encoder = [str(out / "runs" / f"{name}-{seed}" / "encoder.safetensors")]
        run(["readout", "segmentation", "--encoder", *encoder, "--out", str(folder), *given])
    return read_table(folder / "result.json")


def losses(folder: Path) -> list[float]:
    """Return a run's loss, the mean of each interval that was logged."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "events"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars("terms/loss")]


def trained_row(folder: Path, spent: Path) -> Row:
    """Return what a complete run says of its training."""
    result, config = read_table(folder / "results.json"), read_toml(folder / "config.toml")
    batch, loss = config["frames"]["batch_size"], losses(folder)
    row: Row = {
        "steps": result["steps"],
        "batch": batch,
        "minutes": result["seconds"] / 60,
        "images/s": result["images_per_second"],
        "loss first": loss[0],
        "loss highest": max(loss),
        "loss last": result["loss"],
        "accuracy last": result.get("accuracy"),
        "spread last": result["spread"],
    }
    if spent.exists():
        row["core minutes"] = read_json(spent) / 60
    return row


def readout_row(result: dict[str, Any]) -> Row:
    """Return what counts of a readout."""
    low, high = result["details"]["interval"]
    return {"mIoU": 100 * result["scores"]["miou"], "low": 100 * low, "high": 100 * high}


def summary(rows: Iterable[Row]) -> list[Row]:
    """Return for each method with several seeds the mean and the standard deviation of the mIoU."""
    by_method: dict[str, list[float]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row["mIoU"])
    return [
        {
            "method": name,
            "seeds": len(values),
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values),
        }
        for name, values in by_method.items()
        if len(values) > 1
    ]


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for a person, and a line for each method with several seeds."""
    names = [name for name, _ in COLUMNS]
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    for row in rows:
        cells = ("–" if row.get(n) is None else form.format(row[n]) for n, form in COLUMNS)
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        f"\n{each['method']}: {each['mean']:.1f} ± {each['deviation']:.1f} (standard deviation) "
        f"over {each['seeds']} seeds"
        for each in summary(rows)
    ]
    return "\n".join(lines) + "\n"


def write_tables(rows: Sequence[Row], out: Path, target: str) -> None:
    """Write the tables of what is known."""
    write_text(out / "table.md", markdown(rows))
    content = {"target": target, "rows": rows, "seeds": summary(rows)}
    made = environment("benchmarks.methods", 0) | {"cores": os.cpu_count()}
    write_text(out / "results.json", to_json({**content, "environment": made}) + "\n")
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name, _ in COLUMNS])
        writer.writeheader()
        writer.writerows(rows)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--target", required=True, help="What is trained on: a known target or a path.")
@click.option("--data", help="What is read out: a data set of the readouts [the target].")
@click.option("--data-root", help="Where data sets lie [$SELFFLOW_DATA or data].")
@click.option("--method", "methods", multiple=True, help="One of several [all, and random].")
@click.option("--seeds", default=1, help="How many of each.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/methods"))
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Of pre-training.")
@click.option(
    "--readout",
    "readouts",
    multiple=True,
    metavar="KEY=VALUE",
    help=f"Of the readout [{' '.join(READOUT)}].",
)
def main(
    target: str,
    data: str | None,
    data_root: str | None,
    methods: tuple[str, ...],
    seeds: int,
    out: Path,
    changes: tuple[str, ...],
    readouts: tuple[str, ...],
) -> None:
    """Train each method by its recipe for two cores, and read its features out."""
    unknown = set(methods) - {RANDOM, *METHODS}
    if unknown:
        raise UserError(f"no method {', '.join(sorted(unknown))}; known are {', '.join(METHODS)}")
    root = [] if data_root is None else ["--data-root", data_root]
    training = ["--target", target, *root, *_set(changes)]
    reading = ["--data", data or target, *root, *_set(readouts or READOUT)]
    rows: list[Row] = []
    for seed in range(seeds):
        for name in methods or (RANDOM, *METHODS):
            row: Row = {"method": name, "seed": seed}
            if name != RANDOM:
                folder = pretrained(name, seed, out, training)
                row |= trained_row(folder, out / "spent" / f"{name}-{seed}.json")
            rows.append(row | readout_row(readout(name, seed, out, reading)))
            write_tables(rows, out, target)
    click.echo(markdown(rows))
    click.echo(json.dumps(summary(rows)))


def _set(values: Iterable[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


if __name__ == "__main__":
    main()
