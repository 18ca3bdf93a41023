"""What the three command lines share: options, and errors as a person sees them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from pydantic import ValidationError

from selfflow.runs.config import Config, load, read_toml, to_toml
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import active, launched, process_group, rank
from selfflow.runs.errors import DivergedError, SharedError, UserError
from selfflow.runs.problems import explain
from selfflow.runs.progress import console
from selfflow.runs.run import to_json

C = TypeVar("C", bound=Config)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Common:
    """The options that every command takes."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    data_root: Path | None = None
    device: str | None = None
    seed: int | None = None
    dry_run: bool = False

    def configure(
        self,
        kind: type[C],
        values: Mapping[str, Any] | None = None,
        device_defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> C:
        """Return the resolved configuration of a command.

        Args:
            kind: its class; its fields `device`, `seed` and `data_root`, where it has them, are
                set by the options of the same names.
            values: the command's own flags, by dotted key; None stands for one not given.
            device_defaults: defaults by dotted key, for "cpu" and for "cuda".
        """
        own = {"device": self.device, "seed": self.seed, "data_root": self.data_root}
        flags = {key: value for key, value in own.items() if key in kind.model_fields}
        flags |= dict(values or {})
        resolve = functools.partial(
            load, kind, file=self.config, overrides=self.overrides, values=flags
        )
        chosen = getattr(resolve(), "device", self.device)
        return resolve(defaults=(device_defaults or {}).get(pick_device(chosen).type))

    def early(self, key: str, flag: Any = None) -> Any:
        """Return a top-level setting that decides what other settings there are, or None.

        It is looked up as `configure` does: `--set`, the flag, the file.
        """
        for text in reversed(self.overrides):
            name, _, value = text.partition("=")
            if name.strip() == key:
                return value.strip().strip("\"'")
        if flag is not None or self.config is None:
            return flag
        return read_toml(self.config).get(key)

    def announce(self, config: Config, lines: Sequence[str]) -> None:
        """Say what will be used and what it will take; in a dry run, show it all and stop here.

        To be called before anything is written.
        """
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)
        if self.dry_run:
            click.echo(to_toml(config), nl=False)
            raise click.exceptions.Exit(0)


def distributed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let torchrun run a command, one that trains, in several processes at once."""

    @functools.wraps(command)
    def wrapper(**options: Any) -> Any:
        with process_group():
            return command(**options)

    return wrapper


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the common options to a command; it gets them as one argument, `common`."""

    @click.option("--config", type=_FILE, help="Read settings from a TOML file.")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one setting; with no value, unset it.",
    )
    @click.option("--data-root", type=_FOLDER, help="Where data sets lie [$SELFFLOW_DATA or data].")
    @click.option("--device", help="auto, cpu, cuda or cuda:N.")
    @click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random.")
    @click.option("--dry-run", is_flag=True, help="Show settings and estimate, and stop.")
    @functools.wraps(command)
    def wrapper(
        config: Path | None,
        overrides: tuple[str, ...],
        data_root: Path | None,
        device: str | None,
        seed: int | None,
        dry_run: bool,
        **options: Any,
    ) -> Any:
        if launched() and not active():
            raise UserError("torchrun is for the commands that train; this one is a single process")
        common = Common(config, overrides, data_root, device, seed, dry_run)
        return command(common=common, **options)

    return wrapper


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result, and only it, as JSON."
)


def print_result(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a command's result on standard output: JSON, or a line for each of its values."""
    if as_json:
        click.echo(to_json(result))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        click.echo(f"{name.replace('_', ' '):<{width}}  {shown}")


class _Failure(click.ClickException):
    """What the user did wrong: one line on standard error, exit status 2.

    Of an error that all processes share, the first one prints the line.
    """

    exit_code = 2

    def __init__(self, message: str, *, shared: bool = False) -> None:
        line = " ".join(message.split())
        super().__init__(line if shared or not rank() else f"process {rank()}: {line}")
        self.quiet = shared and rank() > 0

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        if not self.quiet:
            super().show(file)


class _Diverged(_Failure):
    """A training that diverged: exit status 1."""

    exit_code = 1


class Group(click.Group):
    """A command group whose errors are one clear line, without a traceback.

    Exit status: 2 for what the user did wrong, 1 for a training that diverged, 130 after ^C.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate what it raises."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Failure(str(error), shared=isinstance(error, SharedError)) from error
        except ValidationError as error:
            raise _Failure(explain(error)) from error
        except DivergedError as error:
            raise _Diverged(str(error)) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.strerror is None:
                raise
            place = f"{error.filename}: " if error.filename else ""
            raise _Failure(f"{place}{error.strerror}") from error
        except KeyboardInterrupt as error:
            if rank() == 0:
                click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(130) from error
