"""Scenes at given times: the way from frame positions to layers and back.

Points are `(M, P)`, x and y; `view` `(M,)` says which view each row belongs to. A surface is one
layer of one scene; surfaces count over all scenes, scene * L + layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoflow.motion import (
    HORIZON,
    STEEPEST,
    Points,
    Poses,
    deform,
    homogeneous,
    poses,
    project,
    undeform,
)
from autoflow.scene import Scenes

Ranges = Sequence[Tensor]  # smallest and largest x, smallest and largest y


@dataclass(frozen=True)
class Views:
    """`V` moments: which scene `(V,)`, and its layers' poses then."""

    scenes: Scenes
    scene: Tensor
    poses: Poses

    @classmethod
    def at(cls, scenes: Scenes, times: Tensor) -> "Views":
        """Return the views of each scene at times `(B, N)`, V = B * N."""
        scene = torch.arange(len(times), device=times.device).repeat_interleave(times.shape[1])
        return cls(scenes, scene, poses(scenes.motions, times))

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, chosen: Tensor) -> "Views":
        """Return the views number `chosen`, in this order."""
        p = self.poses
        picked = Poses(p.to_frame[chosen], p.to_layer[chosen], p.bend[chosen])
        return Views(self.scenes, self.scene[chosen], picked)

    def surface(self, view: Tensor, layer: int) -> Tensor:
        """Return the surfaces that are layer number `layer` in the views."""
        return self.scene[view] * self.scenes.layers + layer

    def locate(self, view: Tensor, layer: int, points: Points) -> Points:
        """Return the layer coordinates of frame positions."""
        flat = project(self.poses.to_layer[view, layer], points)
        bend = self.poses.bend[view, layer]
        return deform(self.scenes.lattices.flatten(1), self.surface(view, layer), bend, flat)

    def land(self, view: Tensor, layer: int, points: Points) -> Points:
        """Return the frame positions of layer coordinates."""
        bend = self.poses.bend[view, layer]
        surface = self.surface(view, layer)
        flat = undeform(self.scenes.lattices.flatten(1), surface, bend, points)
        return project(self.poses.to_frame[view, layer], flat)

    def touches(self, layer: int, ranges: Ranges) -> Tensor:
        """Return which ranges of positions, `(1 or V, K)` each, can meet a layer's map; `(V, K)`.

        Never too few: a homography takes a rectangle to the convex hull of its corners' images,
        and over the hull the displacement differs from the corners' by at most its Lipschitz
        constant times the hull's width.
        """
        low_x, high_x, low_y, high_y = (values.expand(len(self), -1) for values in ranges)
        corners = (
            torch.cat((low_x, high_x, low_x, high_x), 1),
            torch.cat((low_y, low_y, high_y, high_y), 1),
        )
        first, second, depth = homogeneous(self.poses.to_layer[:, layer], corners)
        flat = first / depth, second / depth
        slack = STEEPEST * torch.maximum(*(_high(value) - _low(value) for value in flat))
        surface = self.scene * self.scenes.layers + layer
        bend = self.poses.bend[:, layer]
        x, y = deform(self.scenes.lattices.flatten(1), surface, bend, flat)
        right, bottom = self.scenes.map_reach[self.scene, layer, :, None].unbind(1)
        meets = (_low(x) - slack <= right) & (_high(x) + slack >= -right)
        meets &= (_low(y) - slack <= bottom) & (_high(y) + slack >= -bottom)
        # Near the horizon corners tell nothing.
        meets |= _low(depth) < 2 * HORIZON
        return meets & self.scenes.present[self.scene, layer][:, None]


def _low(corners: Tensor) -> Tensor:
    return corners.view(len(corners), 4, -1).amin(1)


def _high(corners: Tensor) -> Tensor:
    return corners.view(len(corners), 4, -1).amax(1)
