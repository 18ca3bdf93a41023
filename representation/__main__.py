"""`python -m representation` is the command `representation`, for torchrun among others."""

from representation.cli import main

main(prog_name="representation")
