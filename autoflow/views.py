"""Scenes at given times: the way from frame positions to the background, to layers, and back.

Points are `(M, P)`, x and y; `view` `(M,)` says which view each row belongs to. A surface is one
layer of one scene; surfaces count over all scenes, scene * L + layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoflow.motion import HORIZON, Points, Poses, deform, homogeneous, poses, project, undeform
from autoflow.scene import Scenes
from autoflow.surface import distance

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
        picked = Poses(p.outwards[chosen], p.inwards[chosen], p.bend[chosen])
        return Views(self.scenes, self.scene[chosen], picked)

    def surface(self, view: Tensor, layer: int) -> Tensor:
        """Return the surfaces that are layer number `layer` in the views."""
        return self.scene[view] * self.scenes.layers + layer

    def locate(self, view: Tensor, layer: int, points: Points) -> Points:
        """Return the coordinates on a layer of points on what carries it.

        That is: of frame positions on the background, of its coordinates on other layers.
        """
        flat = project(self.poses.inwards[view, layer], points)
        bend = self.poses.bend[view, layer]
        return deform(self.scenes.lattices.flatten(1), self.surface(view, layer), bend, flat)

    def land(self, view: Tensor, layer: int, points: Points) -> Points:
        """Return where points on a layer are on what carries it; undoes `locate`."""
        bend = self.poses.bend[view, layer]
        surface = self.surface(view, layer)
        flat = undeform(self.scenes.lattices.flatten(1), surface, bend, points)
        return project(self.poses.outwards[view, layer], flat)

    def spans(self, layer: int, ranges: Ranges) -> Ranges:
        """Return ranges on a layer that hold what lies in `ranges` of the ground, `(V, K)` each.

        Never too narrow: a homography takes a rectangle to the convex hull of its corners' images,
        and in the hull's box displacement differs from that of the middle by at most its Lipschitz
        constant times half of the longer side.
        """
        low_x, high_x, low_y, high_y = ranges
        corners = (
            torch.cat((low_x, high_x, low_x, high_x), 1),
            torch.cat((low_y, low_y, high_y, high_y), 1),
        )
        first, second, depth = homogeneous(self.poses.inwards[:, layer], corners)
        x, half_x = _middle(first / depth)
        y, half_y = _middle(second / depth)
        surface = self.scene * self.scenes.layers + layer
        bend = self.poses.bend[:, layer]
        x, y = deform(self.scenes.lattices.flatten(1), surface, bend, (x, y))
        steepness = self.scenes.steepness[self.scene, layer] * bend.abs()
        slack = torch.maximum(half_x, half_y) * steepness[:, None]
        # Near the horizon corners tell nothing.
        slack[depth.view(len(self), 4, -1).amin(1) < 2 * HORIZON] = math.inf
        half_x, half_y = half_x + slack, half_y + slack
        return x - half_x, x + half_x, y - half_y, y + half_y

    def meets(self, layer: int, spans: Ranges, margin: Tensor) -> Tensor:
        """Return which ranges on a layer come nearer than `margin` `(V,)` to it, `(V, K)`.

        Never too few: away from a range's middle the distance grows by at most the map's slopes.
        """
        low_x, high_x, low_y, high_y = spans
        right, bottom = self.scenes.map_reach[self.scene, layer, :, None].unbind(1)
        inside = (low_x <= right) & (high_x >= -right) & (low_y <= bottom) & (high_y >= -bottom)
        slope_x, slope_y = self.scenes.map_slopes[self.scene, layer, :, None].unbind(1)
        gain = slope_x * (high_x - low_x) / 2 + slope_y * (high_y - low_y) / 2
        surface = self.scene * self.scenes.layers + layer
        middle = ((low_x + high_x) / 2).nan_to_num_(), ((low_y + high_y) / 2).nan_to_num_()
        near = distance(self.scenes, surface, middle) + gain > -margin[:, None]
        return inside & near & self.scenes.present[self.scene, layer][:, None]


def _middle(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle of the range of each four corners, and half of its length."""
    corners = corners.view(len(corners), 4, -1)
    low, high = corners.amin(1), corners.amax(1)
    return (low + high) / 2, (high - low) / 2


def block_ranges(points: Points, views: int) -> Ranges:
    """Return the ranges of the points of each block, `(views, K)` each, for `(views * K, P)`."""
    x, y = (values.view(views, -1, values.shape[-1]) for values in points)
    return x.amin(-1), x.amax(-1), y.amin(-1), y.amax(-1)
