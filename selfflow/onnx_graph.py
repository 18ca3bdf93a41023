"""An ONNX graph written down operation by operation."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8  # the one of that time, so that older runtimes read the file


class Graph:
    """Operations and constants so far; a value is known by its name.

    Raises ImportError where there is no `onnx`.
    """

    FLOAT = 1  # TensorProto.FLOAT, for `Cast`

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._numbers = count()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation with one output and return that one's name."""
        name = f"{kind}_{next(self._numbers)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: npt.ArrayLike) -> str:
        """Return the name of a constant, the same for equal ones."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{next(self._numbers)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def ints(self, *values: int) -> str:
        """Return the name of a list of whole numbers."""
        return self.constant(np.array(values, np.int64))

    def weight(self, value: Tensor) -> str:
        """Return the name of a weight, as float32."""
        return self.constant(value.detach().cpu().float().numpy())

    def part(self, values: str, start: int, end: int) -> str:
        """Return elements `start` to `end` of a list, such as some sides of a shape."""
        return self.op("Slice", values, self.ints(start), self.ints(end))

    def flat(self, maps: str) -> str:
        """Return `(B, C, h, w)` as `(B, C, h w)`."""
        return self.op("Reshape", maps, self.ints(0, 0, -1))

    def loop(
        self, times: int, step: Callable[[str, str], tuple[str, str]], state: tuple[str, str]
    ) -> tuple[str, str]:
        """Add `times` steps, each from a state of two float32 values to the next; return the last.

        A step may use all values that are known before the loop.
        """
        helper = self._onnx.helper
        outside, self._nodes = self._nodes, []
        number = next(self._numbers)
        before = [f"state_{number}_{place}" for place in range(2)]
        after = step(before[0], before[1])
        going = self.op("Identity", f"going_{number}")
        body = helper.make_graph(
            self._nodes,
            "step",
            [
                helper.make_tensor_value_info(
                    f"iteration_{number}", self._onnx.TensorProto.INT64, []
                ),
                helper.make_tensor_value_info(f"going_{number}", self._onnx.TensorProto.BOOL, []),
                *(self._value(name) for name in before),
            ],
            [
                helper.make_tensor_value_info(going, self._onnx.TensorProto.BOOL, []),
                *(self._value(name) for name in after),
            ],
        )
        self._nodes = outside
        results = [f"result_{number}_{place}" for place in range(2)]
        limit, true = self.constant(np.int64(times)), self.constant(np.bool_(True))
        self._nodes.append(helper.make_node("Loop", [limit, true, *state], results, body=body))
        return results[0], results[1]

    def model(
        self,
        inputs: Mapping[str, tuple[int | str, ...]],
        output: tuple[str, str, tuple[int | str, ...]],
        metadata: Mapping[str, str],
    ) -> "onnx.ModelProto":
        """Return the checked model.

        Args:
            inputs: shape of each float32 input by its name; a side that is a word is free.
            output: what it is to be called, its name so far, and its shape.
            metadata: what the file says about itself.
        """
        helper, name = self._onnx.helper, output[0]
        self._nodes.append(helper.make_node("Identity", [output[1]], [name]))
        graph = helper.make_graph(
            self._nodes,
            "network",
            [self._value(key, shape) for key, shape in inputs.items()],
            [self._value(name, output[2])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="selfflow"
        )
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model)
        return model

    def _value(self, name: str, shape: tuple[int | str, ...] | None = None) -> Any:
        kind = self._onnx.TensorProto.FLOAT
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)
