"""Schedules: pure functions of the step, so that a run that was stopped goes on exactly."""

import math


def one_cycle(step: int, steps: int, peak: float, warmup: float = 0.05) -> float:
    """Rise linearly from peak/25 to `peak` over the share `warmup`, then fall linearly to zero.

    The schedule RAFT is trained with (OneCycleLR with linear annealing; it ends at zero where
    that one ends at a 250,000th of the peak).
    """
    rise = warmup * steps
    if step < rise:
        return peak * (1 / 25 + (1 - 1 / 25) * step / rise)
    return peak * max(0.0, steps - step) / max(1.0, steps - rise)


def cosine(step: int, steps: int, start: float, end: float = 0.0, warmup: int = 0) -> float:
    """Go from `start` to `end` along half a cosine, after `warmup` steps that rise linearly.

    Without a warm-up this is also BYOL's schedule for the target network's momentum.
    """
    if step < warmup:
        return start * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def constant_then_halve(
    step: int, steps: int, peak: float, constant: float = 5 / 6, halvings: float = 5
) -> float:
    """Stay at `peak` for the share `constant`, then halve, smoothly, `halvings` times to the end.

    With the defaults it is SMURF's: 62,500 of 75,000 steps, then half every 2,500.
    """
    start = constant * steps
    if step <= start:
        return peak
    return peak * 0.5 ** (halvings * min(1.0, (step - start) / (steps - start)))


def ramp(step: int, start: int, length: int) -> float:
    """Rise linearly from 0 at `start` to 1, `length` steps later."""
    if length <= 0:
        return float(step >= start)
    return min(1.0, max(0.0, (step - start) / length))
