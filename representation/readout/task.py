"""What a downstream task has to offer, and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from representation.readout.settings import ReadoutSettings
from selfflow.runs.run import Run


@dataclass(frozen=True)
class Outcome:
    """What a readout measured.

    Attributes:
        scores: numbers by name, the one that counts first.
        data: what was read: how many images, which classes.
        details: everything else that a program may want: per class, per learning rate.
    """

    scores: Mapping[str, float]
    data: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


class Readout(Protocol):
    """A downstream task, in a file of its own.

    Attributes:
        Settings: its configuration; the defaults are those of the protocol `default_protocol`.
        protocols: by name, what a protocol changes of the defaults, by dotted key.
        quick: likewise, how `--quick` scales any of them down.
        default_protocol: what is taken where none is named.
    """

    Settings: ClassVar[type[ReadoutSettings]]
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]]
    quick: ClassVar[Mapping[str, Any]]
    default_protocol: ClassVar[str]

    def __init__(self, settings: Any, data_root: Path | None) -> None:
        """Open encoder and data, and check them; nothing is written. Raises UserError."""

    def describe(self) -> list[str]:
        """Return lines for a person: what is used, and the time and memory that it will take."""
        ...

    def encoder(self) -> Mapping[str, Any]:
        """Return what `representation.known_encoders.description` says of the encoder."""
        ...

    def run(self, run: Run) -> Outcome:
        """Train and measure, or go on where `run` was stopped; pictures go into its folder."""
        ...
