"""When a search has to be done."""

import time


def is_past(deadline: float | None) -> bool:
    """Return whether a deadline, as `time.time()`, is over; None: there is none."""
    return deadline is not None and time.time() >= deadline
