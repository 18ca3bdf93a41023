"""The command line: pre-train an encoder, export it; one file for each command."""

import click

from representation.cli.export import export
from representation.cli.pretrain import pretrain
from selfflow.runs.cli import Group


@click.group(cls=Group)
def main() -> None:
    """Dense visual features from video and its flow, without labels."""


for command in (pretrain, export):
    main.add_command(command)
