"""The command line, a file for each command: pre-train, measure, compare, show, export."""

import click

from representation.cli.compare import compare
from representation.cli.export import export_command
from representation.cli.pretrain import pretrain
from representation.cli.readout import readout
from representation.cli.visualize import visualize_command
from selfflow.runs.cli import Group


@click.group(cls=Group)
def main() -> None:
    """Dense visual features from video and its flow, without labels."""


for command in (pretrain, readout, compare, visualize_command, export_command):
    main.add_command(command)
