"""The sets of hyperparameters that the experiment compares, by name."""

from collections.abc import Sequence
from pathlib import Path

import torch

from autoflow.hyperparameters import Hyperparameters
from autoflow.sets import read_sets
from autoflow.space import Value, at, near, searched
from benchmarks.evidence.recipe import Recipe
from selfflow.random import key, purpose, uniform
from selfflow.runs.config import replace_values

DEFAULT, FOUND, MIXED = "default", "found", "top-3"
SEARCH = "search"  # its folder in the run folder


def pool(recipe: Recipe) -> list[str]:
    """Return the names of the sets that are ranked: the default, near and wide ones in turn."""
    near_ones = [f"near-{number}" for number in range(1, recipe.near + 1)]
    wide_ones = [f"wide-{number}" for number in range(1, recipe.wide + 1)]
    both = min(recipe.near, recipe.wide)
    turns = [name for two in zip(near_ones, wide_ones, strict=False) for name in two]
    return [DEFAULT, *turns, *near_ones[both:], *wide_ones[both:]]


def sets_named(name: str, recipe: Recipe, path: Path) -> Sequence[Hyperparameters]:
    """Return the sets that a name stands for; several are mixed.

    Args:
        name: "default", "near-3", "wide-2", "found" or "top-3".
        recipe: how far the near ones are, and of which seed.
        path: the run folder, where the search has left what it found.
    """
    kind, _, number = name.partition("-")
    if name == DEFAULT:
        return [Hyperparameters()]
    if name in (FOUND, MIXED):
        return read_sets(path / SEARCH / "top3.toml")[: 1 if name == FOUND else None]
    space = searched(Hyperparameters())
    if kind == "near":
        values = near(space, recipe.spread, recipe.seed, int(number))
    else:
        values = evenly(recipe.seed, int(number))
    return [replace_values(Hyperparameters(), values)]


def evenly(seed: int, number: int) -> dict[str, Value]:
    """Return point `number` of the space, each parameter drawn evenly over its (log) range."""
    space = searched(Hyperparameters())
    keys = purpose(key(seed, torch.tensor([number])), "evidence")
    draws = uniform(keys, len(space))[0].tolist()
    return {name: at(each, where) for (name, each), where in zip(space.items(), draws, strict=True)}
