"""The first trials of a search: the default set, then points around it."""

from collections.abc import Mapping

from autoflow.search.strategies.job import Job
from autoflow.space import defaults, near
from selfflow.runs.parameter import Parameter


def start_job(space: Mapping[str, Parameter], spread: float, seed: int, number: int) -> Job:
    """Return start `number`: 0 is the default set, any other a point near it (`space.near`).

    Args:
        space: what is searched.
        spread: standard deviation around the default set, as a share of each range.
        seed: of the points.
        number: of the job, from 0.
    """
    point = near(space, spread, seed, number) if number else defaults(space)
    return Job(f"start-{number}", point)
