"""What every stage of training is asked for, and what it takes where nothing is said."""

from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field

from selfflow.models import DEFAULT_MODELS
from selfflow.runs.config import Config, replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.store import stored_models, target_of

# What training starts from where nothing else is said: a search's result, else what is shipped.
INITIAL = ("s-af", *DEFAULT_MODELS)


class StageConfig(Config):
    """The settings that all stages have.

    Attributes:
        needs_target: whether the stage learns from a target's video, so that one must be known.
    """

    needs_target: ClassVar[bool] = True

    stage: str = Field(description="kind of training")
    target: str | None = Field(None, description="video; default: what the first network is for")
    init: str | None = Field(None, description=f"network to start from; default: {INITIAL[0]}")
    name: str = Field(description="of the result in the model store")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    seed: int = Field(0, ge=0, description="of everything random")


C = TypeVar("C", bound=StageConfig)


def resolve(config: C) -> tuple[C, list[str]]:
    """Return `config` with network and target named, and a line for each that was chosen here.

    Raises:
        UserError: there is no network to start from, or it was not made for a target.
    """
    lines = []
    init = config.init
    if init is None:
        known = stored_models()
        init = next((name for name in INITIAL if name in known), None)
        if init is None:
            raise UserError(
                f"there is no network to start from, none of {', '.join(INITIAL)}; make one with "
                "`autoflow search` or `autoflow train`, or name one with --init"
            )
        lines.append(f"starting from {init}")
    if Path(init).name == Path(config.name).name:
        raise UserError(f"--name {config.name} would replace the network that training starts from")
    target = config.target
    if target is None and config.needs_target:
        target = target_of(init)
        lines.append(f"target {target}, which {init} was made for")
    return replace_values(config, {"init": init, "target": target}), lines
