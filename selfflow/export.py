"""Networks for programs without PyTorch: ONNX, for images of one size or of any.

The graph is written down here, operation by operation, with the network's weights: it is there at
once, its iterations are one `Loop`, and it depends on no tracer. Correlation is read by
`GridSample` from a volume that is held in memory. Values agree with the network's to rounding.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selfflow.onnx_graph import Graph
from selfflow.onnx_raft import flow_graph
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write

if TYPE_CHECKING:
    import onnx

EXTRA = "pip install 'selfflow[onnx]'"


def export_onnx(
    network: RAFT,
    path: Path,
    *,
    iterations: int = 12,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as an ONNX file: `image1`, `image2` `(B, 3, H, W)` in [0, 1] to `flow`.

    The batch size is free. The whole correlation volume is held in memory when it runs: 0.27 GB
    for 448x1024 pixels, 5.6 GB for 1080x1920.

    Args:
        network: of any of our architectures; batch norms take their learned statistics.
        path: of the file, written whole or not at all.
        iterations: of the refinement, fixed in the file.
        size: (height, width) of the images, or None: any size.
        metadata: what the file is to say about itself.

    Raises:
        UserError: the `onnx` extra is not installed, or the file cannot be written.
    """
    model = onnx_model(network, iterations=iterations, size=size, metadata=metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def onnx_model(
    network: RAFT,
    *,
    iterations: int,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> "onnx.ModelProto":
    """Return what `export_onnx` writes."""
    if iterations < 1:
        raise ValueError(f"at least one iteration is needed, got {iterations}")
    graph = _new_graph()
    flow = flow_graph(graph, network, iterations, size)
    height, width = size or ("height", "width")
    about = {
        "kind": "flow",
        "architecture": network.architecture,
        "iterations": iterations,
        "size": f"{height}x{width}" if size else "free",
        "input": "image1, image2: (B, 3, H, W), RGB, float32 in [0, 1]",
        "output": "flow: (B, 2, H, W), pixels, x then y, from image1 to image2",
    }
    described = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in {**(metadata or {}), **about}.items()
    }
    return graph.model(
        inputs=dict.fromkeys(("image1", "image2"), ("batch", 3, height, width)),
        output=("flow", flow, ("batch", 2, height, width)),
        metadata=described,
    )


def largest_difference(network: RAFT, path: Path, iterations: int, size: tuple[int, int]) -> float:
    """Return by how many pixels an exported file's flow of noise differs from the network's.

    Raises ImportError where there is no onnxruntime.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    noise = torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(noise[0], noise[1], iterations)
    images = {f"image{number}": image.numpy() for number, image in enumerate(noise, 1)}
    (flow,) = session.run(["flow"], images)
    return float(np.abs(flow - expected.numpy()).max())


def _new_graph() -> Graph:
    try:
        return Graph()
    except ImportError as error:
        raise UserError(f"{error.name} is needed to write ONNX: {EXTRA}") from None
