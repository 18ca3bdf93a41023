"""`python -m autoflow` is the command `autoflow`, for torchrun among others."""

from autoflow.cli import main

main(prog_name="autoflow")
