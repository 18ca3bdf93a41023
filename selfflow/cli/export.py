"""`selfflow export`."""

import re
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field, field_validator

from selfflow.cli.terminal import PATH
from selfflow.export import export_onnx, largest_difference
from selfflow.models import default_model, load_average, save_half
from selfflow.raft import RAFT
from selfflow.runs.cli import Common, common_options, json_option, print_result
from selfflow.runs.config import Config, replace_values

# Of the images on which a file for any size is compared with the network.
_COMPARED = (96, 136)


class ExportConfig(Config):
    """What is exported, and how."""

    model: str | None = Field(None, description="a path, a run, or a name; default: the shipped")
    to: Literal["onnx", "safetensors"] = Field("onnx", description="format")
    size: tuple[int, int] | None = Field(None, description="height and width; none: any size")
    iterations: int = Field(12, ge=1, description="of the network, fixed in the file")
    average: tuple[str, ...] = Field((), description="models whose weights are averaged with it")

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", value)
        if match is None:
            raise ValueError(f"a size is HEIGHTxWIDTH, such as 448x1024, not {value}")
        return int(match[1]), int(match[2])


@click.command("export")
@click.option("--model", help="A path, a run, or a name in the model store [what is shipped].")
@click.option("--to", type=click.Choice(["onnx", "safetensors"]), help="Format [onnx].")
@click.option("--out", type=PATH, required=True, help="The file to write.")
@click.option("--size", metavar="HxW", help="Height and width of the images [any size].")
@click.option("--iterations", type=int, help="Of the network [12].")
@click.option("--average", multiple=True, help="A model to average the weights with; repeatable.")
@common_options
@json_option
def export_command(
    common: Common,
    model: str | None,
    to: str | None,
    out: Path,
    size: str | None,
    iterations: int | None,
    average: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a network for others: as ONNX, images (B, 3, H, W) in [0, 1] to flow, for programs
    without PyTorch; or as safetensors, its weights in half precision, as models are shipped.
    """
    flags = {"model": model, "to": to, "size": size, "iterations": iterations}
    config = common.configure(ExportConfig, {**flags, "average": average or None})
    name = config.model or default_model()
    network, metadata = load_average([name, *config.average])
    network.eval()
    config = replace_values(config, {"model": name})
    if config.to == "safetensors":
        common.announce(config, [f"{name} ({network.architecture}) in half precision"])
        save_half(out, network, metadata)
        result: dict[str, Any] = {"file": str(out), "megabytes": out.stat().st_size / 1e6}
    else:
        size_said = "{}x{}".format(*config.size) if config.size else "any size"
        common.announce(config, [f"{name} ({network.architecture}) for images of {size_said}"])
        result = _onnx(config, network, out, metadata)
    print_result(result, as_json)


def _onnx(
    config: ExportConfig, network: RAFT, out: Path, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Write the file and compare it with the network."""
    export_onnx(network, out, iterations=config.iterations, size=config.size, metadata=metadata)
    result: dict[str, Any] = {"file": str(out), "megabytes": out.stat().st_size / 1e6}
    try:
        difference = largest_difference(network, out, config.iterations, config.size or _COMPARED)
        result["difference_in_onnxruntime_px"] = difference
    except ImportError:
        result["difference_in_onnxruntime_px"] = "not compared: onnxruntime is not installed"
    return result
