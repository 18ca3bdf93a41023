"""What a trial leaves in the run folder: a checkpoint while it runs, at most a network after it."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoflow.search.results import TrialResult, ranked
from autoflow.search.settings import SearchSettings
from selfflow.models import save
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run, read_json, to_json, write_text

TOP = 3
_FOLDER = "trials"


@dataclass(frozen=True)
class TrialFolder:
    """The folder of a trial; all attempts at it share it.

    Attributes:
        path: RUN/trials/KEY.
    """

    path: Path

    @classmethod
    def of(cls, run: Path, key: str) -> "TrialFolder":
        """Return the folder of the trial of that key in a run folder; UserError if it is no name.

        A storage may be shared with others, and what it says becomes no path out of the run folder.
        """
        if not re.fullmatch(r"[a-z0-9-]+", key):
            raise UserError(f"the study has a trial with the key {key!r}, which is no name")
        return cls(run / _FOLDER / key)

    @property
    def network(self) -> Path:
        """Where the trained network is kept."""
        return self.path / "network.safetensors"

    def open(self, made_for: Mapping[str, Any]) -> Run:
        """Return where checkpoints go; one that is there is gone on from if it fits.

        Args:
            made_for: what the training depends on, as JSON has it. What was left for something
                else, by another study in the same run folder, is removed.
        """
        note = self.path / "trial.json"
        text = to_json(made_for)
        if not note.exists() or to_json(read_json(note)) != text:
            shutil.rmtree(self.path, ignore_errors=True)
            write_text(note, text + "\n")
        return Run(self.path, events=False)

    def save_network(self, network: RAFT, description: Mapping[str, Any]) -> None:
        """Keep the trained network."""
        save(self.network, network, description)

    def clear(self, *, keep_network: bool) -> None:
        """Remove what a trial that has ended leaves, its network excepted if it is to be kept."""
        if keep_network and self.network.exists():
            (self.path / "checkpoint.pt").unlink(missing_ok=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def tidy(run: Path, trials: Sequence[TrialResult], settings: SearchSettings) -> None:
    """Remove the checkpoints of trials that have ended, and the networks that need not be kept.

    Args:
        run: the run folder.
        trials: all that count.
        settings: `trial.keep` says whose networks are kept. A population goes on from those of its
            last two generations, so that these are kept in any case.
    """
    kept = {"all": {t.number for t in trials}, "none": set()}.get(
        settings.trial.keep, {t.number for t in ranked(trials)[:TOP]}
    )
    if settings.strategy == "pbt":
        latest = max((trial.generation for trial in trials), default=0)
        kept |= {trial.number for trial in trials if trial.generation >= latest - 1}
    ended = {trial.key: trial.number for trial in trials if trial.state != "running"}
    for path in (run / _FOLDER).glob("*"):
        if path.name in ended:
            TrialFolder(path).clear(keep_network=ended[path.name] in kept)
