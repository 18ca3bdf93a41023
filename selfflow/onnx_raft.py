"""RAFT as an ONNX graph: the same layers, sizes as parts of the graph, iterations as one loop."""

import numpy as np
from torch import nn

from selfflow.correlation import LEVELS, SMALLEST_SIDE
from selfflow.onnx_graph import Graph
from selfflow.raft import RAFT, STRIDE, padding
from selfflow.raft_blocks import (
    BottleneckBlock,
    ConvGRU,
    Encoder,
    InstanceNorm,
    MotionEncoder,
    ResidualBlock,
)


def flow_graph(graph: Graph, network: RAFT, iterations: int, size: tuple[int, int] | None) -> str:
    """Add RAFT from `image1` and `image2` to the flow; return the flow's name."""
    pads = _pads(graph, size)
    images = []
    for image in ("image1", "image2"):
        padded = graph.op("Pad", image, pads, mode="edge")
        doubled = graph.op("Mul", padded, graph.constant(np.float32(2)))
        images.append(graph.op("Sub", doubled, graph.constant(np.float32(1))))
    features1, features2 = (_encode(graph, network.feature_encoder, image) for image in images)
    levels = _pyramid(graph, features1, features2)

    context = _encode(graph, network.context_encoder, images[0])
    first, rest = network.hidden, network.context_encoder.conv.out_channels - network.hidden
    hidden, context = (
        graph.op(
            kind, graph.op("Slice", context, graph.ints(start), graph.ints(end), graph.ints(1))
        )
        for kind, start, end in (("Tanh", 0, first), ("Relu", first, first + rest))
    )
    units = list(network.update_block.recurrent_block.children())
    shares = [_context_shares(graph, unit, context) for unit in units]

    shape = graph.op("Shape", features1)
    grid = _pixel_grid(graph, shape)
    empty = graph.op(
        "Concat", graph.part(shape, 0, 1), graph.ints(2), graph.part(shape, 2, 4), axis=0
    )
    start = graph.op("Expand", graph.constant(np.zeros((1, 2, 1, 1), np.float32)), empty)

    def refine(hidden: str, flow: str) -> tuple[str, str]:
        correlation = _read_windows(graph, levels, grid, flow, shape, network.radius)
        motion = _motion(graph, network.update_block.motion_encoder, flow, correlation)
        for unit, share in zip(units, shares, strict=True):
            hidden = _recur(graph, unit, share, hidden, motion)
        head = network.update_block.flow_head
        change = _convolve(
            graph, head.conv2, graph.op("Relu", _convolve(graph, head.conv1, hidden))
        )
        return hidden, graph.op("Add", flow, change)

    hidden, flow = graph.loop(iterations, refine, (hidden, start))
    return _cropped(graph, _upsample(graph, network, flow, hidden), pads)


# --- encoders -----------------------------------------------------------------------------------


def _convolve(graph: Graph, conv: nn.Conv2d, x: str) -> str:
    assert isinstance(conv.padding, tuple)
    return graph.op(
        "Conv",
        x,
        graph.weight(conv.weight),
        *([] if conv.bias is None else [graph.weight(conv.bias)]),
        strides=list(conv.stride),
        pads=[*conv.padding, *conv.padding],
    )


def _layers(graph: Graph, layers: nn.Module, x: str) -> str:
    """Add what `selfflow.raft_blocks.convolution` returns, or nothing."""
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            x = _convolve(graph, layer, x)
        elif isinstance(layer, nn.ReLU):
            x = graph.op("Relu", x)
        elif isinstance(layer, nn.BatchNorm2d):
            values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            weights = [graph.weight(value) for value in values if value is not None]
            x = graph.op("BatchNormalization", x, *weights, epsilon=layer.eps)
        elif isinstance(layer, InstanceNorm):
            ones = np.ones(layer.channels, np.float32)
            scale, offset = graph.constant(ones), graph.constant(0 * ones)
            x = graph.op("InstanceNormalization", x, scale, offset, epsilon=1e-5)
        else:
            raise TypeError(f"no operation is known for {layer}")
    return x


def _encode(graph: Graph, encoder: Encoder, image: str) -> str:
    x = _layers(graph, encoder.convnormrelu, image)
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3):
        for block in stage.children():
            assert isinstance(block, ResidualBlock | BottleneckBlock)
            y = x
            for name, part in block.named_children():
                if name != "downsample":
                    y = _layers(graph, part, y)
            x = graph.op("Relu", graph.op("Add", _layers(graph, block.downsample, x), y))
    return _convolve(graph, encoder.conv, x)


# --- correlation --------------------------------------------------------------------------------


def _pyramid(graph: Graph, features1: str, features2: str) -> list[tuple[str, str]]:
    """Return, for each level, the volume `(B N, 1, h, w)` and its (w, h) as floats."""
    queries = graph.op("Transpose", graph.flat(features1), perm=[0, 2, 1])
    channels = graph.op("Cast", graph.part(graph.op("Shape", features1), 1, 2), to=graph.FLOAT)
    queries = graph.op("Div", queries, graph.op("Sqrt", channels))
    levels = []
    for level in range(LEVELS):
        if level:
            features2 = graph.op("AveragePool", features2, kernel_shape=[2, 2], strides=[2, 2])
        height_width = graph.part(graph.op("Shape", features2), 2, 4)
        volume = graph.op("MatMul", queries, graph.flat(features2))
        shape = graph.op("Concat", graph.ints(-1, 1), height_width, axis=0)
        width_height = graph.op("Gather", height_width, graph.ints(1, 0))
        sides = graph.op("Cast", width_height, to=graph.FLOAT)
        levels.append((graph.op("Reshape", volume, shape), sides))
    return levels


def _read_windows(
    graph: Graph, levels: list[tuple[str, str]], grid: str, flow: str, shape: str, radius: int
) -> str:
    """Read the windows around `grid + flow`, `(B, L (2 radius + 1)², h, w)`, x before y."""
    positions = graph.op("Add", grid, graph.op("Transpose", flow, perm=[0, 2, 3, 1]))
    centres = graph.op("Reshape", positions, graph.ints(-1, 1, 1, 2))
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    window = graph.constant(np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)[None])
    read = []
    for level, (volume, sides) in enumerate(levels):
        scaled = graph.op("Mul", centres, graph.constant(np.float32(0.5**level)))
        places = graph.op("Add", scaled, window)
        # A frame's edges are at -1 and 1, half a pixel outside of its first and last centres: that
        # holds for a single pixel as well.
        doubled = graph.op("Mul", places, graph.constant(np.float32(2)))
        shifted = graph.op("Add", doubled, graph.constant(np.float32(1)))
        normalised = graph.op("Sub", graph.op("Div", shifted, sides), graph.constant(np.float32(1)))
        values = graph.op(
            "GridSample",
            volume,
            normalised,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=0,
        )
        cells = graph.op(
            "Concat",
            graph.part(shape, 0, 1),
            graph.part(shape, 2, 4),
            graph.ints((2 * radius + 1) ** 2),
            axis=0,
        )
        read.append(graph.op("Reshape", values, cells))
    return graph.op("Transpose", graph.op("Concat", *read, axis=3), perm=[0, 3, 1, 2])


def _pixel_grid(graph: Graph, shape: str) -> str:
    """Return the positions of all pixel centres, `(1, h, w, 2)`, x then y."""
    axes = []
    for axis, place in ((3, [1, 1, -1, 1]), (2, [1, -1, 1, 1])):
        count = graph.op("Gather", shape, graph.constant(np.int64(axis)))
        numbers = graph.op("Range", graph.constant(np.int64(0)), count, graph.constant(np.int64(1)))
        numbers = graph.op("Cast", numbers, to=graph.FLOAT)
        axes.append(graph.op("Reshape", numbers, graph.ints(*place)))
    size = graph.op("Concat", graph.ints(1), graph.part(shape, 2, 4), graph.ints(1), axis=0)
    return graph.op("Concat", *(graph.op("Expand", axis, size) for axis in axes), axis=3)


# --- refinement ---------------------------------------------------------------------------------


def _motion(graph: Graph, encoder: MotionEncoder, flow: str, correlation: str) -> str:
    of_correlation = _layers(graph, encoder.convcorr1, correlation)
    of_correlation = _layers(graph, encoder.convcorr2, of_correlation)
    of_flow = _layers(graph, encoder.convflow2, _layers(graph, encoder.convflow1, flow))
    motion = _layers(graph, encoder.conv, graph.op("Concat", of_correlation, of_flow, axis=1))
    return graph.op("Concat", motion, flow, axis=1)


def _context_shares(graph: Graph, unit: nn.Module, context: str) -> list[str]:
    """Return the context's share of each gate's convolution: the same in every iteration."""
    assert isinstance(unit, ConvGRU)
    end = unit.hidden + unit.context
    shares = []
    for conv in (unit.convz, unit.convr, unit.convq):
        assert conv.bias is not None
        weights = graph.weight(conv.weight[:, unit.hidden : end]), graph.weight(conv.bias)
        shares.append(graph.op("Conv", context, *weights, pads=[*unit.padding, *unit.padding]))
    return shares


def _recur(graph: Graph, unit: nn.Module, shares: list[str], hidden: str, motion: str) -> str:
    """Add a gated recurrent unit; return the next hidden state."""
    assert isinstance(unit, ConvGRU)
    end = unit.hidden + unit.context

    def gate(conv: nn.Conv2d, share: str, state: str) -> str:
        kernel = np.concatenate(
            [
                part.detach().cpu().numpy()
                for part in (conv.weight[:, : unit.hidden], conv.weight[:, end:])
            ],
            1,
        )
        both = graph.op("Concat", state, motion, axis=1)
        pads = [*unit.padding, *unit.padding]
        convolved = graph.op("Conv", both, graph.constant(kernel), pads=pads)
        return graph.op("Add", convolved, share)

    update = graph.op("Sigmoid", gate(unit.convz, shares[0], hidden))
    reset = graph.op("Sigmoid", gate(unit.convr, shares[1], hidden))
    kept = graph.op("Mul", reset, hidden)
    candidate = graph.op("Tanh", gate(unit.convq, shares[2], kept))
    change = graph.op("Mul", update, graph.op("Sub", candidate, hidden))
    return graph.op("Add", hidden, change)


# --- padding and upsampling ---------------------------------------------------------------------


def _pads(graph: Graph, size: tuple[int, int] | None) -> str:
    """Return what `selfflow.raft.padding` adds, in the order of ONNX's `Pad`."""
    if size is not None:
        left, right, top, bottom = padding(*size)
        return graph.ints(0, 0, top, left, 0, 0, bottom, right)
    sides = graph.part(graph.op("Shape", "image1"), 2, 4)
    stride = graph.ints(STRIDE)
    eighths = graph.op("Div", graph.op("Add", sides, graph.ints(STRIDE - 1)), stride)
    padded = graph.op("Mul", graph.op("Max", eighths, graph.ints(SMALLEST_SIDE)), stride)
    more = graph.op("Sub", padded, sides)
    before = graph.op("Div", more, graph.ints(2))
    after = graph.op("Sub", more, before)
    none = graph.ints(0, 0)
    return graph.op("Concat", none, before, none, after, axis=0)


def _cropped(graph: Graph, flow: str, pads: str) -> str:
    """Cut off at each side what `pads` added."""
    before, after = graph.part(pads, 2, 4), graph.part(pads, 6, 8)
    end = graph.op("Sub", graph.part(graph.op("Shape", flow), 2, 4), after)
    return graph.op("Slice", flow, before, end, graph.ints(2, 3))


def _upsample(graph: Graph, network: RAFT, flow: str, hidden: str) -> str:
    scaled = graph.op("Mul", flow, graph.constant(np.float32(STRIDE)))
    if network.mask_predictor is None:
        factors = graph.constant(np.array([1, 1, STRIDE, STRIDE], np.float32))
        return graph.op(
            "Resize",
            scaled,
            "",
            factors,
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )
    predictor = network.mask_predictor
    weights = _convolve(graph, predictor.conv, _layers(graph, predictor.convrelu, hidden))
    weights = graph.op("Mul", weights, graph.constant(np.float32(0.25)))
    shape = graph.op("Shape", flow)
    batch, sides = graph.part(shape, 0, 1), graph.part(shape, 2, 4)

    def shaped(x: str, *between: int) -> str:
        return graph.op(
            "Reshape", x, graph.op("Concat", batch, graph.ints(*between), sides, axis=0)
        )

    shares = graph.op("Softmax", shaped(weights, 1, 9, STRIDE**2), axis=2)
    # Nine kernels with a single one each read the 3x3 neighbours.
    single = graph.op("Reshape", scaled, graph.op("Concat", graph.ints(-1, 1), sides, axis=0))
    readers = graph.constant(np.eye(9, dtype=np.float32).reshape(9, 1, 3, 3))
    neighbours = shaped(graph.op("Conv", single, readers, pads=[1, 1, 1, 1]), 2, 9, 1)
    full = graph.op(
        "ReduceSum", graph.op("Mul", shares, neighbours), graph.ints(2), keepdims=0
    )  # (B, 2, 64, h, w)
    return graph.op("DepthToSpace", shaped(full, 2 * STRIDE**2), blocksize=STRIDE, mode="CRD")
