"""`python -m selfflow` is the command `selfflow`, for torchrun among others."""

from selfflow.cli import main

main(prog_name="selfflow")
