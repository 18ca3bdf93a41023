"""The pictures in a search's report: the target, what sets render, what the network sees."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from autoflow.hyperparameters import Hyperparameters
from autoflow.preview import HEADINGS, pair_rows
from autoflow.search.bench import Bench
from autoflow.search.pairs import TargetPairs
from autoflow.search.report.page import Figure
from autoflow.sheet import Picture, flow_picture, picture, sheet
from autoflow.stream import stream
from selfflow.objective import FlowNetwork, evaluating
from selfflow.pairs import Pairs

_COLUMNS, _WIDTH = 4, 260


def set_figures(bench: Bench, named: Mapping[str, Hyperparameters]) -> list[Figure]:
    """Return pictures of what the named sets render: beside the target, and in detail."""
    size = _size(bench)
    detail = [_pairs_of(bench, label, each, size) for label, each in named.items()]
    return [target_figure(bench, named), *detail]


def target_figure(bench: Bench, named: Mapping[str, Hyperparameters]) -> Figure:
    """Return frames of the target beside what the default and the named sets render."""
    size = _size(bench)
    rows = [[picture(_fitted(p.image1, size)[0]) for p in _some(bench.pairs, _COLUMNS)]]
    labels = [f"frames of {bench.settings.target}"]
    for label, each in {"the default set": bench.start, **named}.items():
        rows.append([picture(image) for image in _scenes(bench, each, _COLUMNS, size).image1])
        labels.append(label)
    return Figure(
        "The target and the sets",
        "First frames. The sets are to teach flow for the target, which they need not resemble.",
        sheet(rows, labels=labels, least_width=_WIDTH),
    )


def _size(bench: Bench) -> Sequence[int]:
    return _some(bench.pairs, 1)[0].image1.shape[-2:]


def _pairs_of(bench: Bench, label: str, each: Hyperparameters, size: Sequence[int]) -> Figure:
    return Figure(
        f"Scenes of {label}",
        "Both frames, the exact flow in colour (direction is hue, length is saturation), and the "
        "pixels that the second frame does not show.",
        sheet(pair_rows(_scenes(bench, each, 3, size)), headings=HEADINGS, least_width=_WIDTH),
        folded=True,
    )


@torch.no_grad()
def network_figure(networks: dict[str, FlowNetwork], pairs: TargetPairs, iterations: int) -> Figure:
    """Return the flow that networks see between frames of the target, beside the true one."""
    rows: list[list[Picture]] = []
    chosen = _some(pairs, 3)
    size = chosen[0].image1.shape[-2:]
    for pair in (_whole(pair, size) for pair in chosen):
        flows = []
        for network in networks.values():
            with evaluating(network):
                flows.append(network.bidirectional(pair.image1, pair.image2, iterations)[0])
        if pair.flow is not None:
            flows.append(pair.flow)
        largest = max(float(flow[0].norm(dim=0).quantile(0.99)) for flow in flows)
        rows.append([picture(pair.image1[0]), *(flow_picture(f[0], largest) for f in flows)])
    known = any(pair.flow is not None for pair in chosen)
    headings = ["frame 1", *networks, *(["true flow"] if known else [])]
    return Figure(
        "Flow on the target",
        "Frames that the networks have never been trained on; one scale of colour in each row.",
        sheet(rows, headings=headings, least_width=_WIDTH),
    )


def _scenes(bench: Bench, each: Hyperparameters, count: int, size: Sequence[int]) -> Pairs:
    scenes = stream(
        each,
        seed=bench.settings.seed,
        size=(size[0], size[1]),
        batch_size=count,
        device=bench.device,
        photographs=bench.photographs,
        augment=False,
    )
    return scenes.batch_at(0)


def _some(pairs: TargetPairs, count: int) -> list[Pairs]:
    """Return some pairs of the list, evenly spread, as batches of one."""
    step = max(1, len(pairs) // count)
    addresses = list(pairs.addresses)[::step][:count]
    return [pairs.cache.load(address, pairs.device) for address in addresses]


def _fitted(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize an image to the size that a sheet's pictures have in common."""
    if image.shape[-2:] == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True)


def _whole(pair: Pairs, size: Sequence[int]) -> Pairs:
    """Return a pair of that size; without its label where it has to be resized."""
    if pair.image1.shape[-2:] == tuple(size):
        return pair
    return Pairs(_fitted(pair.image1, size), _fitted(pair.image2, size))
