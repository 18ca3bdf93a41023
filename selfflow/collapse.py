"""A guard against what goes wrong without labels: a network that stops seeing motion.

Smoothness and distillation are lowest where nothing moves. Where the photometric term is too weak
against them (a wrong weight, a learning rate that is too high, frames of noise), flow shrinks to
zero everywhere, and all losses look fine. So the motion itself is looked at, on held-out pairs,
and whether it explains the frames better than none.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from selfflow.census import Census, grey
from selfflow.flow import stays_inside, warp
from selfflow.frames import FrameCache, PairAddress
from selfflow.losses import inner, masked_mean_each
from selfflow.objective import CENSUS_BORDER, evaluating
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import Run, read_table

SHRUNK = 0.1  # of the motion at the start
NO_BETTER = 0.98  # of the census penalty without motion
_FILE = "guard.json"


class Sight(NamedTuple):
    """What a network sees, means over pairs.

    Attributes:
        motion: length of its flow, px.
        penalty: census penalty of frame 2 warped by it, where it stays inside the frame.
        still: census penalty of frame 2 as it is.
    """

    motion: float
    penalty: float
    still: float


@torch.no_grad()
def look(
    network: RAFT,
    cache: FrameCache,
    pairs: Sequence[PairAddress],
    iterations: int,
    device: torch.device,
) -> Sight:
    """Return what a network sees in pairs of whole frames."""
    seen = []
    for pair in pairs:
        frames = cache.load(pair, device)
        with evaluating(network):
            flow = network(frames.image1, frames.image2, iterations)
        first, second = Census.of(grey(frames.image1)), grey(frames.image2)
        penalty, still = (
            masked_mean_each(
                first.penalty(warp(second, way)), inner(stays_inside(way).float(), CENSUS_BORDER)
            )
            for way in (flow, torch.zeros_like(flow))
        )
        motion = flow.square().sum(1).sqrt().mean((1, 2))
        seen.append(torch.stack((motion, penalty, still)).mean(1))
    return Sight(*torch.stack(seen).mean(0).tolist())


def collapsed(first: Sight, now: Sight) -> bool:
    """Return whether a network has lost the motion it saw, and explains frames no better for it."""
    return now.motion < SHRUNK * first.motion and now.penalty > NO_BETTER * now.still


class CollapseGuard:
    """Looks at a network every so many steps, and warns once if its motion is gone.

    Args:
        look: tells what the network sees now.
        every: steps between looks; 0: never.
        run: where the first look is kept, so that a continued training knows it, and what is seen.

    Attributes:
        warnings: what was said.
    """

    def __init__(self, look: Callable[[], Sight], every: int, run: Run) -> None:
        self.warnings: list[str] = []
        self._look, self._every, self._run = look, every, run
        if every == 0:
            return
        path = run.path / _FILE
        if path.exists():
            self._first, self.warnings = _read(path)
        else:
            self._first = look()
            self._write()

    def __call__(self, step: int) -> None:
        """Look at the network after so many steps, if it is time to."""
        if self._every == 0 or step % self._every:
            return
        now = self._look()
        for name, value in now._asdict().items():
            self._run.writer.add_scalar(f"held_out/{name}", value, step)
        if collapsed(self._first, now) and not self.warnings:
            text = (
                f"the network has stopped seeing motion: after {step} steps its flow on pairs "
                f"held out is {now.motion:.2g} px long ({self._first.motion:.2g} px at the start) "
                f"and matches frames no better than none would (census {now.penalty:.3f}, "
                f"{now.still:.3f} without); a smaller losses.terms.smoothness, a smaller "
                "learning_rate or another --init may help"
            )
            warn(text)
            self.warnings.append(text)
            self._write()

    def _write(self) -> None:
        first = self._first._asdict()
        self._run.write_json(_FILE, {"first": first, "warnings": self.warnings})


def warn(text: str) -> None:
    """Say to a person what may be wrong."""
    console.print(f"Warning: {text}", style="yellow", soft_wrap=True)


def _read(path: Path) -> tuple[Sight, list[str]]:
    content = read_table(path)
    try:
        return Sight(**content["first"]), [str(text) for text in content["warnings"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold what this run wrote there: {error}") from error
