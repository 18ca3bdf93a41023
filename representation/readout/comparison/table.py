"""One table of many results: a row for each encoder, a column for each score at each place."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from representation.readout.comparison.grouping import NETWORK, Group, Spread, beside, grouped
from representation.readout.comparison.measured import Measured, Place
from representation.readout.published_table import Published
from selfflow.runs.run import to_json

TRAINED_ON = {"random": "nothing", "imagenet": "ImageNet, labels"}
PLAIN = ("absrel",)  # how names of scores without a unit begin
METRES = ("rmse", "mean_absolute")  # of those in metres; all others are shares, shown in percent


@dataclass(frozen=True)
class Column:
    """A score at a place.

    Attributes:
        place: where it was measured.
        title: of the place, as it is told from the others.
        score: its name.
        unit: "%", "m" or "".
    """

    place: Place
    title: str
    score: str
    unit: str

    @property
    def digits(self) -> int:
        """Behind the point, when it is shown."""
        return 1 if self.unit == "%" else 3

    def shown(self, spread: Spread) -> str:
        """Return mean, deviation and number of seeds, as "37.6 ± 0.4 (3)"."""
        text = f"{spread.mean:.{self.digits}f}"
        if spread.deviation is None:
            return text
        return f"{text} ± {spread.deviation:.{self.digits}f} ({len(spread.values)})"


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        name: of the encoder.
        network: its architecture, stride and decoder.
        trained_on: what it was trained on.
        note: what differs from the protocol; of a published row, that it is one.
        source: of a published row, paper and table; None: own numbers.
        cells: by the column's index, in the column's unit.
        group: of own results, where they are from, by the column's index.
    """

    name: str
    network: str
    trained_on: str
    note: str
    source: str | None
    cells: Mapping[int, Spread]
    groups: Mapping[int, Group]

    @property
    def published(self) -> bool:
        """Whether the numbers are somebody else's."""
        return self.source is not None


@dataclass(frozen=True)
class Comparison:
    """The table, and what has to be said about it."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def unit(score: str) -> tuple[float, str]:
    """Return what a score is multiplied by to be shown, and its unit then."""
    name = score.lower()
    if name.startswith(METRES):
        return 1.0, "m"
    return (1.0, "") if name.startswith(PLAIN) else (100.0, "%")


def compared(results: Sequence[Measured], scores: int = 3) -> Comparison:
    """Return the table of results, with the first `scores` scores of each place."""
    groups = grouped(results)
    titles, notes = _titles([group.place for group in groups])
    columns = _columns(groups, titles, scores)
    shared = _shared(groups)
    notes += [f"{titles[place]}: {_listed(same)}" for place, same in shared.items() if same]
    theirs, sources = _published(beside(results), columns)
    lines = [*_own(groups, columns, shared), *theirs]
    notes += [f"({number}) {source}" for number, source in enumerate(sources, 1)]
    if any(len(spread.values) > 1 for line in lines for spread in line.cells.values()):
        notes.append("± is the standard deviation over seeds, their number in brackets")
    if any(group.place.quick for group in groups):
        notes.append("quick: the protocol scaled down; not to be compared with published scores")
    return Comparison(tuple(columns), tuple(lines), tuple(notes))


def _titles(places: Iterable[Place]) -> tuple[dict[Place, str], list[str]]:
    """Return each place's title, and what tells those apart that would have the same."""
    alike: dict[str, list[Place]] = defaultdict(list)
    for place in dict.fromkeys(places):
        words = [place.task, place.data, place.protocol, *(["quick"] * place.quick)]
        alike[" ".join(words)].append(place)
    titles, notes = {}, []
    for title, same in alike.items():
        for number, place in enumerate(same, 1):
            titles[place] = f"{title} #{number}" if len(same) > 1 else title
            if number > 1:
                other = _difference(same[0].content, place.content)
                notes.append(f"{titles[place]} has other data than #1: {other}")
    return titles, notes


def _difference(first: str, second: str) -> str:
    known, other = json.loads(first), json.loads(second)
    keys = [key for key in {**known, **other} if known.get(key) != other.get(key)]
    parts = [f"{key} {_short(other.get(key))}, not {_short(known.get(key))}" for key in keys]
    return "; ".join(parts)


def _columns(groups: Sequence[Group], titles: Mapping[Place, str], scores: int) -> list[Column]:
    names: dict[Place, dict[str, None]] = {place: {} for place in titles}
    for group in groups:
        names[group.place] |= dict.fromkeys(list(group.scores)[:scores])
    return [
        Column(place, titles[place], name, unit(name)[1])
        for place, known in names.items()
        for name in known
    ]


def _shared(groups: Sequence[Group]) -> dict[Place, dict[str, Any]]:
    """Return what all groups at a place have changed alike, if there are several."""
    found: dict[Place, dict[str, Any]] = {}
    for group in groups:
        known = found.setdefault(group.place, dict(group.changed))
        found[group.place] = {
            key: value
            for key, value in known.items()
            if key in group.changed and to_json(group.changed[key]) == to_json(value)
        }
    return found


def _own(
    groups: Sequence[Group], columns: Sequence[Column], shared: Mapping[Place, Mapping[str, Any]]
) -> list[Line]:
    rows: dict[str, list[tuple[Group, str]]] = defaultdict(list)
    for group in groups:
        own = {k: v for k, v in group.changed.items() if k not in shared[group.place]}
        note = _listed(own)
        rows[to_json([dict(group.encoder), note])].append((group, note))
    labels = _labels([members[0][0].encoder for members in rows.values()])
    lines = []
    for label, members in zip(labels, rows.values(), strict=True):
        cells, origins = {}, {}
        for group, _ in members:
            for index, column in enumerate(columns):
                if column.place == group.place and column.score in group.scores:
                    factor = unit(column.score)[0]
                    values = group.scores[column.score].values
                    cells[index] = Spread(tuple(factor * value for value in values))
                    origins[index] = group
        encoder, note = members[0][0].encoder, members[0][1]
        target = encoder.get("target") or TRAINED_ON.get(str(encoder["name"]), "")
        lines.append(Line(label, _network(encoder), str(target), note, None, cells, origins))
    return sorted(lines, key=lambda line: bool(line.note))


def _labels(encoders: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the encoders' names, with what differs between those that share one."""
    shown = ("name", "target", *NETWORK)
    labels = []
    for encoder in encoders:
        others = [each for each in encoders if each["name"] == encoder["name"]]
        keys = {key for each in others for key in each if key not in shown}
        differing = [key for key in sorted(keys) if len({str(o.get(key)) for o in others}) > 1]
        extra = ", ".join(f"{key}={encoder[key]}" for key in differing if key in encoder)
        labels.append(f"{encoder['name']} ({extra})" if extra else str(encoder["name"]))
    return labels


def _network(encoder: Mapping[str, Any]) -> str:
    decoder = encoder.get("decoder", "none")
    plus = "" if decoder in (None, "none") else f" + {decoder}"
    architecture = encoder.get("architecture", "")
    name = "" if architecture == encoder["name"] else f"{architecture} "  # flow/MODEL, timm/NAME
    return f"{name}/{encoder.get('stride', '')}{plus}"


def _published(
    found: Mapping[Place, list[Published]], columns: Sequence[Column]
) -> tuple[list[Line], list[str]]:
    """Return the papers' rows, and the tables they are from; they refer to these by number."""
    sources = list(dict.fromkeys(row.source for rows in found.values() for row in rows))
    lines: dict[tuple[str, str, str, str, str], dict[int, Spread]] = defaultdict(dict)
    for place, rows in found.items():
        for row in rows:
            own = f"; {_listed(row.settings)}" if row.settings else ""
            note = f"published ({sources.index(row.source) + 1}){own}"
            for index, column in enumerate(columns):
                if column.place == place and column.score in row.scores:
                    about = (row.model, row.network, row.trained_on, note, row.source)
                    lines[about][index] = Spread((row.scores[column.score],))
    return [Line(*about, cells=cells, groups={}) for about, cells in lines.items()], sources


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    text = to_json(value).replace("\n", "").replace("  ", "")
    return text if len(text) <= 60 else f"{text[:57]}..."
