"""The command line: pre-train, measure, show, export an encoder; one file for each command."""

import click

from representation.cli.export import export_command
from representation.cli.pretrain import pretrain
from representation.cli.readout import readout
from representation.cli.visualize import visualize_command
from selfflow.runs.cli import Group


@click.group(cls=Group)
def main() -> None:
    """Dense visual features from video and its flow, without labels."""


for command in (pretrain, readout, visualize_command, export_command):
    main.add_command(command)
