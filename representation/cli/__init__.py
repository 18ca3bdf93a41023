"""The command line: pre-train an encoder, measure it, export it; one file for each command."""

import click

from representation.cli.export import export
from representation.cli.pretrain import pretrain
from representation.cli.readout import readout
from selfflow.runs.cli import Group


@click.group(cls=Group)
def main() -> None:
    """Dense visual features from video and its flow, without labels."""


for command in (pretrain, readout, export):
    main.add_command(command)
