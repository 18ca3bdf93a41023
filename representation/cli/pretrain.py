"""`representation pretrain`."""

from pathlib import Path
from typing import Any

import click

from representation.estimate import estimate
from representation.methods import METHODS
from representation.pretrain import (
    MAY_DIFFER,
    PAIRS,
    assemble,
    method_class,
    save,
    summary,
    train,
)
from representation.settings import DEVICE_DEFAULTS, PretrainSettings
from selfflow.models import default_model
from selfflow.runs.cli import Common, common_options, distributed, json_option, print_result
from selfflow.runs.config import replace_values
from selfflow.runs.distributed import rank, together
from selfflow.runs.progress import console
from selfflow.runs.run import Run, default_run_path
from selfflow.runs.store import SUFFIX, target_of


@click.command()
@distributed
@click.option("--method", help=f"One of {', '.join(METHODS)} [flowe].")
@click.option("--flow-model", help="A path, a name in the model store, or a built-in [s-af-small].")
@click.option("--target", help="A known target or a path [that of the flow model].")
@click.option("--init", help="First weights: random, a name in the model store, a run, or a file.")
@click.option("--name", help="Of the encoder in the model store [the method's name].")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.")
@click.option("--steps", type=int, help="Steps in all.")
@click.option("--budget", help="Stop after this time, such as 2h.")
@common_options
@json_option
def pretrain(
    common: Common,
    method: str | None,
    flow_model: str | None,
    target: str | None,
    init: str | None,
    name: str | None,
    out: Path | None,
    steps: int | None,
    budget: str | None,
    as_json: bool,
) -> None:
    """Train an encoder on a target's frames; the same command again goes on with its run."""
    flags = {
        "method": method,
        "flow_model": flow_model,
        "target": target,
        "encoder.init": init,
        "name": name,
        "loop.steps": steps,
        "loop.budget": budget,
    }
    settings = together(lambda: resolve(common, flags))
    assert settings.name is not None
    folder = out or default_run_path("pretrain", Path(settings.name).name.removesuffix(SUFFIX))
    parts = together(lambda: assemble(settings, data_root=common.data_root, listed=folder / PAIRS))
    common.announce(settings, estimate(parts))
    with Run.open(folder, "pretrain", settings, may_differ=MAY_DIFFER) as run:
        result = train(parts, run)
        if rank() != 0:
            return
        results = {
            "encoder": str(save(parts, result)),
            "run": str(folder),
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            **summary(parts, result),
        }
        run.write_json("results.json", results)
    print_result(results, as_json)


def resolve(common: Common, flags: dict[str, Any]) -> PretrainSettings:
    """Return the settings of a method's run, with all that it needs named."""
    default = PretrainSettings.model_fields["method"].default
    method = method_class(str(common.early("method", flags["method"]) or default))
    defaults = {
        device: {**shared, **method.device_defaults.get(device, {})}
        for device, shared in DEVICE_DEFAULTS.items()
    }
    settings = common.configure(method.Settings, flags, defaults)
    settings = replace_values(settings, {"name": settings.name or settings.method})
    needed = method.uses_flow or settings.target is None
    if settings.flow_model is None and needed:
        settings = replace_values(settings, {"flow_model": default_model()})
        console.print(f"flow model: {settings.flow_model}, none is named", soft_wrap=True)
    if settings.target is None:
        assert settings.flow_model is not None
        target = target_of(settings.flow_model)
        settings = replace_values(settings, {"target": target})
        console.print(
            f"target: {target}, for which flow model {settings.flow_model} was made",
            soft_wrap=True,
        )
    return settings
