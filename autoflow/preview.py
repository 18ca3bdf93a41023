"""`autoflow preview`: what a set of hyperparameters renders, on one sheet."""

from collections.abc import Sequence

import torch

from autoflow.gallery import EXHIBITS, STRENGTHS, exhibit_sets
from autoflow.hyperparameters import Hyperparameters
from autoflow.render import render
from autoflow.sheet import Picture, flow_picture, picture, sheet, visibility_picture
from autoflow.stream import stream
from autoflow.textures import PhotographBank
from selfflow.pairs import Pairs
from selfflow.runs.progress import track

WIDTH = 120
HEADINGS = ("frame 1", "frame 2", "flow", "not visible: red")


def preview(
    sets: Sequence[Hyperparameters],
    *,
    count: int = 6,
    size: tuple[int, int] = (224, 288),
    seed: int = 0,
    device: torch.device | str = "cpu",
    photographs: PhotographBank | None = None,
) -> Picture:
    """Return a contact sheet of samples 0 to `count` - 1: frames, flow in colour, visibility."""
    scenes = stream(
        sets,
        seed=seed,
        size=size,
        batch_size=1,
        device=device,
        photographs=photographs,
        augment=False,
    )
    rows = [row for i in range(count) for row in pair_rows(scenes.batch_at(i))]
    return sheet(rows, headings=HEADINGS, least_width=WIDTH)


def pair_rows(pairs: Pairs) -> list[list[Picture]]:
    """Return a row of pictures for each labelled pair: frames, flow, visibility."""
    rows = []
    for number in range(len(pairs)):
        row = [picture(pairs.image1[number]), picture(pairs.image2[number])]
        if pairs.flow is not None:
            row.append(flow_picture(pairs.flow[number]))
        if pairs.visible is not None:
            row.append(visibility_picture(pairs.image1[number], pairs.visible[number]))
        rows.append(row)
    return rows


def gallery(
    start: Hyperparameters,
    *,
    size: tuple[int, int] = (224, 288),
    seed: int = 0,
    device: torch.device | str = "cpu",
    photographs: PhotographBank | None = None,
) -> Picture:
    """Return a sheet with a row for each shape and effect by itself, off and at three strengths.

    All pictures show frame 2 of the same scene, so that changes between the frames are seen, too.
    """
    indices = torch.zeros(1, dtype=torch.long, device=device)
    rows, labels = [], []
    for exhibit in track(EXHIBITS, title="Gallery"):
        sets = exhibit_sets(start, exhibit)
        samples = [render(each, seed, indices, size=size, photographs=photographs) for each in sets]
        rows.append([picture(sample.frames[0, 1]) for sample in samples])
        labels.append(exhibit.title)
    return sheet(rows, headings=STRENGTHS, labels=labels, least_width=WIDTH)
