"""`representation export`."""

from pathlib import Path

import click

from representation.export import export_torchvision
from selfflow.runs.cli import json_option, print_result


@click.command()
@click.option("--encoder", required=True, help="A path, or a name in the model store.")
@click.option("--to", "library", type=click.Choice(["torchvision"]), default="torchvision")
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".safetensors or .pth")
@json_option
def export(encoder: str, library: str, out: Path, as_json: bool) -> None:
    """Write an encoder's weights so that another library loads them."""
    print_result(export_torchvision(encoder, out), as_json)
