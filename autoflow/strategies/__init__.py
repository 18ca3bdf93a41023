"""What a search tries next: one file a strategy, all of them pure functions of the study so far."""

from autoflow.strategies.job import Job, Strategy

__all__ = ["Job", "Strategy"]
