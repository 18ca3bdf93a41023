"""`representation export`."""

from pathlib import Path
from typing import cast

import click

from representation.export import LIBRARIES, Library, export
from selfflow.runs.cli import json_option, print_result


@click.command("export")
@click.option(
    "--encoder", required=True, help="A name in the store, a path, a run's folder, or a built-in."
)
@click.option("--to", "library", type=click.Choice([*LIBRARIES]), default="torchvision")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help=".safetensors or .pth; for detectron2 .pth.",
)
@click.option("--architecture", help="Of a file that does not tell [resnet50].")
@json_option
def export_command(
    encoder: str, library: str, out: Path, architecture: str | None, as_json: bool
) -> None:
    """Write an encoder's weights so that torchvision, timm or detectron2 loads them.

    A decoder is written beside, to a file of its own.
    """
    result = export(encoder, cast(Library, library), out, architecture=architecture)
    print_result(result, as_json)
