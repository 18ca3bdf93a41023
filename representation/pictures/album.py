"""Pictures of a training: its views, their matches, and its features in colour, also as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.pictures.colours import at_pixels, colour_basis, colours
from representation.snapshot import Snapshot
from representation.watcher import Watcher
from selfflow.io import write_image
from selfflow.runs.distributed import rank
from selfflow.runs.loop import Task

FOLDER = "pictures"


class Album(Watcher):
    """A task whose pictures also show what its encoder makes of a few fixed images.

    Args:
        task: what is trained.
        snapshot: of its encoder.
        images: `(1, 3, H, W)` each, in [0, 1], of any sizes.
        folder: of the run; each picture is also written to `pictures/NAME-STEP.png` in it.
    """

    def __init__(
        self, task: Task[Any], snapshot: Snapshot, images: Sequence[Tensor], folder: Path
    ) -> None:
        super().__init__(task)
        self.snapshot, self.images, self.folder = snapshot, images, folder
        self.steps = 0

    def after_step(self, step: int) -> None:
        """Do what the task does after a step."""
        self.task.after_step(step)
        self.steps = step + 1

    def pictures(self) -> dict[str, Tensor]:
        """Return the task's pictures and "features", and write them to files."""
        found = {**self.task.pictures(), "features": features_picture(self.snapshot, self.images)}
        for name, picture in found.items():
            pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            write_image(self.folder / FOLDER / f"{name}-{self.steps:06d}.png", pixels)
        return found

    def end(self, steps: int) -> None:
        """Write the pictures of a training that has ended after so many steps."""
        self.steps = steps
        if rank() == 0:
            self.pictures()


@torch.no_grad()
def features_picture(snapshot: Snapshot, images: Sequence[Tensor]) -> Tensor:
    """Return images above the colours of their features, `(3, H, W)`, with one basis for all."""
    encoder = snapshot()
    maps = [encoder(image) for image in images]
    basis = colour_basis(maps)
    height = max(image.shape[2] for image in images)
    columns = []
    for image, features in zip(images, maps, strict=True):
        coloured = at_pixels(colours(features, basis), encoder, image.shape[2:])
        low = (0, 0, 0, height - image.shape[2])
        columns.append(torch.cat((F.pad(image, low), F.pad(coloured, low)), 2)[0])
    return torch.cat(columns, 2)
