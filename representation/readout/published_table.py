"""What is kept of a paper's table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = tuple[str | float | None, ...]  # the method, what it was trained on, and its numbers


@dataclass(frozen=True)
class Published:
    """One row of a paper's table, under one setting.

    Attributes:
        model: its name there.
        network: of the encoder.
        trained_on: without labels, unless it says otherwise.
        source: the paper and the table.
        task: of `representation readout`.
        protocol: of the task.
        data: the data set's name.
        scores: by the name that they have here.
        settings: by dotted key, what differs from the protocol's numbers.
        counts: of the data, by the name that results have for it.
    """

    model: str
    network: str
    trained_on: str
    source: str
    task: str
    protocol: str
    data: str
    scores: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A part of a paper's table with one setting.

    Attributes:
        columns: names of scores; of each row the numbers from the third entry on.
        rows: None stands for a number that is not reported.
    """

    source: str
    task: str
    protocol: str
    data: str
    counts: Mapping[str, int]
    columns: Sequence[str]
    rows: Sequence[Row]
    network: str = "resnet50"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def published(self) -> Iterator[Published]:
        """Yield a `Published` for each row that has a number."""
        for model, trained_on, *numbers in self.rows:
            scores = {
                name: float(number)
                for name, number in zip(self.columns, numbers, strict=True)
                if number is not None
            }
            if scores:
                yield Published(
                    str(model), self.network, str(trained_on), self.source, self.task,
                    self.protocol, self.data, scores, self.settings, self.counts,
                )  # fmt: skip
