"""The command line: train, evaluate, predict, export, ...; one file for each command."""

import click

from selfflow.cli.evaluate import evaluate_command
from selfflow.cli.export import export_command
from selfflow.cli.models import models
from selfflow.cli.predict import predict_command
from selfflow.cli.submit import submit_command
from selfflow.cli.train import train
from selfflow.runs.cli import Group


@click.group(cls=Group)
def main() -> None:
    """Optical flow: self-supervised training, evaluation, prediction."""


for command in (train, evaluate_command, predict_command, submit_command, export_command, models):
    main.add_command(command)
