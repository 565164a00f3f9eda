"""The application: commands imported when they are used, and errors as one line without a traceback."""

import functools
import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from condgen import __version__
from condgen.cli.launch import join, leave, silence_others, speaks
from condgen.cli.terminal import Stopped, console
from condgen.errors import UserError, one_line

VERBS = {  # in the list of commands; the function `verb_name` of a module of condgen.cli is run
    "run": ("run", "A whole recipe", "Train, sample, evaluate, diagnose and report, as a recipe says."),
    "train-score": ("train", "One stage", "Train a score model by denoising score matching."),
    "train-classifier": ("train", "One stage", "Train a classifier that guides a score model."),
    "train-generator": ("train", "One stage", "Train a class-conditional one-step generator."),
    "import-diffusers": ("train", "One stage", "Convert a score model of diffusers."),
    "calibrate": ("measure", "One stage", "Find a classifier's best guidance scale by noise level."),
    "sample": ("sample", "One stage", "Draw samples of chosen classes, guided or in one step."),
    "evaluate": ("measure", "One stage", "Compare samples with real data."),
    "diagnose": ("measure", "One stage", "Measure the error of the scores at each noise level."),
    "report": ("share", "Look", "Write the report of a run, or a comparison of several."),
    "studio": ("studio", "Look", "Serve a live page that draws samples of a run."),
    "tensorboard": ("share", "Look", "Write the logs of a run as TensorBoard event files."),
    "samplers": ("settings", "Look", "List the samplers and their options."),
    "settings": ("settings", "Look", "List the settings of recipes: key, type, default, meaning."),
    "recipes": ("run", "Look", "List the recipes that come with condgen, or print one."),
    "doctor": ("run", "Look", "Print versions, devices, data sets and free disk space."),
    "export": ("share", "Share", "Write models as a folder for the Hugging Face hub."),
    "push": ("share", "Share", "Upload exported models to the Hugging Face hub."),
    "pack": ("share", "Share", "Write samples as a webdataset tar."),
}
# Several processes may work together on these
JOINT = {"run", "train-score", "train-classifier", "train-generator", "calibrate", "sample", "evaluate", "diagnose"}
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_INTERRUPTED = 128 + signal.SIGINT


def load_verb(name: str) -> Any:  # noqa: ANN401 - typer's commands have no public type of their own
    module = importlib.import_module(f"condgen.cli.{VERBS[name][0]}")
    single = typer.Typer(add_completion=False, rich_markup_mode="markdown", context_settings=_CONTEXT)
    single.command(name)(_with_absolute_paths(getattr(module, name.replace("-", "_"))))
    return typer.main.get_command(single)


def _with_absolute_paths(command: Callable[..., None]) -> Callable[..., None]:
    """The command, given every path as an absolute one: `.` has no name, and records outlive the working directory."""

    def absolute(value: object) -> object:
        if isinstance(value, list):
            return [absolute(part) for part in value]
        return Path(os.path.abspath(value)) if isinstance(value, Path) else value

    @functools.wraps(command)
    def wrapped(**arguments: object) -> None:
        command(**{name: absolute(value) for name, value in arguments.items()})

    return wrapped


class _Lazy(TyperGroup):
    """Lists commands from `VERBS`, and imports the one that is run."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(**attributes)
        for name, (_, panel, summary) in VERBS.items():
            self.commands[name] = TyperCommand(name, help=summary, rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_verb(str(name)), rest


app = typer.Typer(
    name="condgen",
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=_CONTEXT,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a process; default: the recipe's, or its share of cores.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Class-conditional image generation with score models, and how wrong the scores are.

    Every command reads and writes folders. The same command again resumes, or does nothing when finished.
    """
    import torch

    from condgen.runs.environment import keep_freed_memory, usable_cores

    context.obj = threads
    keep_freed_memory()
    verb = str(context.invoked_subcommand)
    local = join(verb, verb in JOINT)
    torch.set_num_threads(threads or max(1, usable_cores() // local))


def main() -> None:
    silence_others()
    try:
        app()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # the parser of commands turns Ctrl-C into this
            _fail("stopped at once; the last saved state is whole, and the same command resumes from it", _INTERRUPTED)
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
    except UserError as error:
        _fail(str(error), error=error)
    except Stopped as stop:
        console.print(str(stop), markup=False)
        leave(stop.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'the disk'}: {error.strerror or error}", error=error)
    except Exception as error:
        if os.environ.get("CONDGEN_DEBUG"):
            raise
        _fail(f"unexpected {type(error).__name__}: {error} (set CONDGEN_DEBUG=1 and run again to see where)", 1, error)


def _fail(message: str, code: int = 2, error: Exception | None = None) -> NoReturn:
    if speaks(error):
        typer.echo(typer.style("error: ", fg="red", bold=True) + one_line(message), err=True)
    leave(code)
