"""Pixel grids, warping, composition and visibility: the one owner of what flow means.

Conventions, everywhere in the three packages:

- images `(B, 3, H, W)`, RGB, float in [0, 1];
- flow `(B, 2, H, W)`, float32, pixels, x then y, from frame 1 to frame 2;
- masks `(B, 1, H, W)`, bool, named for what is true: `valid` (the value is known),
  `visible` (the point is seen in the other frame);
- pixel centres lie at integer coordinates, the first at (0, 0); positions are `(B, 2, H, W)`,
  x then y, in pixels. A point is inside a frame if 0 <= x <= W - 1 and 0 <= y <= H - 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise ValueError unless `images` are `(B, 3, H, W)` floating point."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"{name} must be (B, 3, H, W) floating point, got {tuple(images.shape)} {images.dtype}"
        )


def check_flow(flow: Tensor, name: str = "flow") -> None:
    """Raise ValueError unless `flow` is `(B, 2, H, W)` floating point."""
    if flow.ndim != 4 or flow.shape[1] != 2 or not flow.is_floating_point():
        raise ValueError(
            f"{name} must be (B, 2, H, W) floating point, got {tuple(flow.shape)} {flow.dtype}"
        )


def check_mask(mask: Tensor, name: str = "mask") -> None:
    """Raise ValueError unless `mask` is `(B, 1, H, W)` bool."""
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.dtype != torch.bool:
        raise ValueError(f"{name} must be (B, 1, H, W) bool, got {tuple(mask.shape)} {mask.dtype}")


def pixel_grid(
    height: int,
    width: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the positions of all pixel centres, `(1, 2, height, width)`, x then y."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype),
        torch.arange(width, device=device, dtype=dtype),
        indexing="ij",
    )
    return torch.stack((x, y))[None]


def grid_like(flow: Tensor) -> Tensor:
    """Return the pixel grid of `flow`'s size, device and dtype, `(1, 2, H, W)`."""
    return pixel_grid(*flow.shape[-2:], device=flow.device, dtype=flow.dtype)


def inside(positions: Tensor, height: int, width: int) -> Tensor:
    """Return which positions `(B, 2, H', W')` lie inside a frame, `(B, 1, H', W')` bool."""
    x, y = positions.unbind(1)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def sample(values: Tensor, positions: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Read `values` `(B, C, H, W)` at `positions` `(B, 2, H', W')`; zero outside the frame.

    Between the outermost pixel centres and one pixel further out, bilinear reading fades to zero,
    as in `grid_sample(align_corners=True, padding_mode="zeros")`.
    """
    height, width = values.shape[-2:]
    # A frame that is one pixel wide has only one place to read; torch's normalised coordinates
    # would divide by zero there.
    scale = positions.new_tensor((2 / max(width - 1, 1), 2 / max(height - 1, 1)))
    normalised = positions.permute(0, 2, 3, 1) * scale - 1
    return F.grid_sample(values, normalised, mode=mode, padding_mode="zeros", align_corners=True)


def warp(values: Tensor, flow: Tensor) -> Tensor:
    """Read `values` of frame 2 `(B, C, H, W)` where `flow` `(B, 2, H', W')` leads from frame 1."""
    check_flow(flow)
    return sample(values, grid_like(flow) + flow)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the flow a → c of `first` (a → b) followed by `second` (b → c), `(B, 2, H, W)`.

    `second` is read at sub-pixel positions; where `first` leaves the frame the result is not
    meaningful (see `inside`).
    """
    return first + warp(second, first)


def stays_inside(flow: Tensor) -> Tensor:
    """Return which pixels' targets lie inside the frame, `(B, 1, H, W)` bool."""
    return inside(grid_like(flow) + flow, *flow.shape[-2:])


def round_trip_error(forward: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    """Return |f + b'|² and |f|² + |b'|², each `(B, 1, H, W)`, with b' = `backward` read at f."""
    returned = warp(backward, forward)
    error = (forward + returned).square().sum(1, keepdim=True)
    magnitude = (forward.square() + returned.square()).sum(1, keepdim=True)
    return error, magnitude


def consistent(
    forward: Tensor, backward: Tensor, *, relative: float = 0.01, absolute: float = 0.5
) -> Tensor:
    """Return where forward and backward flow agree, `(B, 1, H, W)` bool.

    |f + b(x + f)|² <= relative · (|f|² + |b|²) + absolute: the forward-backward check of Sundaram,
    Brox and Keutzer (ECCV 2010) with the constants of SMURF. `backward` is zero outside.
    """
    error, magnitude = round_trip_error(forward, backward)
    return error <= relative * magnitude + absolute


def visible_by_consistency(
    forward: Tensor, backward: Tensor, *, relative: float = 0.01, absolute: float = 0.5
) -> Tensor:
    """Return which pixels of frame 1 are seen in frame 2: consistent, and inside it."""
    agreeing = consistent(forward, backward, relative=relative, absolute=absolute)
    return agreeing & stays_inside(forward)


def range_map(flow: Tensor) -> Tensor:
    """Return how much of the flow's source lands on each pixel of its target, `(B, 1, H, W)`.

    Bilinear forward splatting of ones (Wang et al., CVPR 2018, equation 2). The range map of the
    backward flow tells which pixels of frame 1 are seen in frame 2: 1 where exactly one pixel
    lands, 0 where none does.
    """
    check_flow(flow)
    batch, _, height, width = flow.shape
    target = grid_like(flow) + flow
    corner = target.floor()
    fraction = target - corner
    total = flow.new_zeros(batch, height * width)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        place = corner + corner.new_tensor((dx, dy)).view(1, 2, 1, 1)
        weight_x = fraction[:, 0] if dx else 1 - fraction[:, 0]
        weight_y = fraction[:, 1] if dy else 1 - fraction[:, 1]
        lands = inside(place, height, width)[:, 0]
        index = torch.where(lands, place[:, 1] * width + place[:, 0], 0).long()
        weight = torch.where(lands, weight_x * weight_y, 0)
        total.scatter_add_(1, index.flatten(1), weight.flatten(1))
    return total.view(batch, 1, height, width)


def project_forward(flow: Tensor) -> Tensor:
    """Return the next flow (b → c) if everything moves on as in `flow` (a → b), `(B, 2, H, W)`.

    Each vector of `flow` is carried to the pixel where it leads. Of several that lead to one pixel,
    the one that ends nearest to its centre stays; a pixel that none leads to takes the vector of
    the nearest one that has some. Zero where all flow leaves the frame.

    This is how RAFT starts from the flow of the frame before (Teed and Deng, ECCV 2020, section
    4.3), which looks for the nearest end point of each pixel. Rounding end points to pixels first
    makes it linear in their number, so that full resolution is affordable: RAFT's own code
    triangulates the flow at 1/8 of it.
    """
    check_flow(flow)
    batch, _, height, width = flow.shape
    target = grid_like(flow) + flow
    pixel = target.round()
    lands = inside(pixel, height, width)[:, 0].flatten(1)
    place = (pixel[:, 1] * width + pixel[:, 0]).flatten(1)
    # What leaves the frame goes to one more place, which is dropped.
    place = torch.where(lands, place, height * width).long()
    distance = (target - pixel).square().sum(1).flatten(1)
    least = distance.new_full((batch, height * width + 1), torch.inf)
    least.scatter_reduce_(1, place, distance, "amin")
    # The first of those that are equally near, so that the result is the same on every device.
    number = torch.arange(height * width, device=flow.device).expand(batch, -1)
    number = torch.where(distance == least.gather(1, place), number, height * width)
    source = torch.full_like(place[:, :1], height * width).repeat(1, height * width + 1)
    source.scatter_reduce_(1, place, number, "amin")
    source = source[:, :-1].view(batch, height, width)
    filled = torch.stack([_from_nearest(one, height * width) for one in source])
    padded = F.pad(flow.flatten(2), (0, 1))
    index = filled.view(batch, 1, -1).expand(-1, 2, -1)
    return padded.gather(2, index).view_as(flow)


def _from_nearest(values: Tensor, empty: int) -> Tensor:
    """Return `values` `(H, W)` with each that is `empty` replaced by the nearest that is not."""
    from scipy.ndimage import distance_transform_edt  # few need it, and its import takes a while

    missing = (values == empty).cpu().numpy()
    if missing.all() or not missing.any():
        return values
    rows, columns = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return values[torch.from_numpy(rows), torch.from_numpy(columns)]


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Resize flow `(B, 2, H, W)` to `(B, 2, height, width)`, its vectors in the new pixels.

    The corners of the frame stay corners (half-pixel centres), so vectors scale by W'/W and H'/H.
    """
    check_flow(flow)
    old_height, old_width = flow.shape[-2:]
    if (old_height, old_width) == (height, width):
        return flow
    scale = flow.new_tensor((width / old_width, height / old_height)).view(1, 2, 1, 1)
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False) * scale
