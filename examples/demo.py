"""The main job on the built-in film, in a few minutes on two cores: `make demo`.

It types the commands that a person would, one after the other, into a folder of its own (so that
its small models never stand in for real ones), and sums up what they found.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HOME = Path("runs/demo")
COMMANDS = (
    "autoflow search --config configs/search/demo.toml",
    "selfflow train --config configs/train/demo.toml",
    "representation pretrain --config configs/pretrain/demo.toml --flow-model s-af-ss",
    f"representation export --encoder flowe --to torchvision --out {HOME}/resnet18.safetensors",
)
MODELS = {
    "zero": "no motion at all",
    "s-af": "RAFT trained on the learned scenes",
    "s-af-ss": "then on the film's own frames",
    "dis": "OpenCV's DIS, for comparison",
}
NEXT = "selfflow predict VIDEO.mp4 --out flow --visualize"

console = Console(highlight=False, soft_wrap=True)


def type_command(command: str) -> float:
    """Run a command as typed, with the demo's own model store; return its seconds."""
    console.rule(f"[bold]{command}", align="left")
    started = time.monotonic()
    done = subprocess.run(_arguments(command), env=_environment(), check=False)
    if done.returncode:
        console.print(f"[red]The demo stopped:[/] `{command}` ended with status {done.returncode}.")
        raise SystemExit(1)
    return time.monotonic() - started


def mean_error(model: str) -> float:
    """Return a model's mean end-point error on the built-in film, in pixels."""
    command = f"selfflow evaluate --model {model} --data sample --iterations 6 --json"
    done = subprocess.run(
        _arguments(command), env=_environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    (part,) = json.loads(done.stdout)["results"].values()
    return float(part["pooled"]["all"]["epe"])


def main() -> int:
    """Run the demo; return 1 if the learned model does not beat zero flow."""
    begun = time.monotonic()
    seconds = {command: type_command(command) for command in COMMANDS}
    console.rule("[bold]What was found", align="left")
    errors = {model: mean_error(model) for model in MODELS}
    console.print(_table(errors))
    for command, duration in seconds.items():
        console.print(f"{duration:5.0f} s  {command}")
    console.print(f"{time.monotonic() - begun:5.0f} s  in all\n")
    console.print(f"Report, to be opened in a browser: {HOME.resolve()}/search/s-af/report.html")
    if errors["s-af"] >= errors["zero"]:
        console.print("[red]s-af does not beat zero flow on the built-in film.[/]")
        return 1
    console.print(f"Next, on a video of yours: [bold].venv/bin/{NEXT}")
    console.print("and .venv/bin/autoflow search --target VIDEO.mp4 for a network of its own.")
    return 0


def _table(errors: dict[str, float]) -> Table:
    table = Table(title="Flow on the built-in film, whose motion is known", title_justify="left")
    table.add_column("model")
    table.add_column("what it is")
    table.add_column("mean error, px", justify="right")
    for model, error in errors.items():
        table.add_row(model, MODELS[model], f"{error:.2f}")
    return table


def _arguments(command: str) -> list[str]:
    program, *arguments = command.split()
    return [str(Path(sys.executable).with_name(program)), *arguments]


def _environment() -> dict[str, str]:
    return os.environ | {"SELFFLOW_HOME": str(HOME)}


if __name__ == "__main__":
    sys.exit(main())
