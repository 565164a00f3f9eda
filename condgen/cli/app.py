"""The application, and how its errors reach people: one line, no traceback."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import torch
import typer

from condgen import __version__
from condgen.cli import (
    calibrate,
    imports,
    inspect,
    report,
    run,
    sample,
    samplers,
    share,
    studio,
    train,
    train_generator,
)
from condgen.cli.launch import follow_first, hush, join, leave, may_speak, voice
from condgen.cli.progress import Stopped
from condgen.errors import UserError, shown
from condgen.runs import keep_freed_memory, usable_cores
from condgen.training import Lost

__all__ = ["app", "main"]

app = typer.Typer(
    name="condgen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

_INTERRUPTED = 128 + signal.SIGINT
_AT_ONCE = "stopped at once; the last saved state is whole, and the same command goes on from it"


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads for torch; by default what the recipe says, or every core, shared by its processes.",
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Class-conditional image generation with score models, and how wrong the scores are.

    Every command reads and writes folders. The same command again goes on where it stopped, or does nothing when done.
    """
    context.obj = threads
    keep_freed_memory()
    beside = join(context.invoked_subcommand or "")
    torch.set_num_threads(threads or max(1, usable_cores() // beside))


app.command("run", rich_help_panel="A whole recipe")(run.run)
app.command("train-score", rich_help_panel="One stage")(train.train_score)
app.command("train-classifier", rich_help_panel="One stage")(train.train_classifier)
app.command("train-generator", rich_help_panel="One stage")(train_generator.train_generator)
app.command("import-diffusers", rich_help_panel="One stage")(imports.import_diffusers)
app.command("calibrate", rich_help_panel="One stage")(calibrate.calibrate)
app.command("sample", rich_help_panel="One stage")(sample.sample)
app.command("evaluate", rich_help_panel="One stage")(inspect.evaluate)
app.command("diagnose", rich_help_panel="One stage")(inspect.diagnose)
app.command("samplers", rich_help_panel="Look")(samplers.samplers)
app.command("report", rich_help_panel="Look")(report.report)
app.command("studio", rich_help_panel="Look")(studio.studio)
app.command("doctor", rich_help_panel="Look")(inspect.doctor)
app.command("export", rich_help_panel="Share")(share.export)
app.command("push", rich_help_panel="Share")(share.push)
app.command("pack", rich_help_panel="Share")(share.pack)
app.command("tensorboard", rich_help_panel="Look")(share.tensorboard)


def main() -> None:
    """Runs the command line."""
    hush()
    try:
        app()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # which is what the parser of commands makes of a Ctrl-C
            _fail(_AT_ONCE, _INTERRUPTED)
        follow_first(end.code if isinstance(end.code, int) else int(end.code is not None))
    except UserError as error:
        _fail(str(error))
    except Stopped as stop:
        if may_speak():
            typer.echo(str(stop), file=voice(sys.stdout, sys.__stdout__))
        leave(stop.exit_code)
    except Lost as loss:
        _fail(str(loss), 1)
    except KeyboardInterrupt:
        _fail(_AT_ONCE, _INTERRUPTED)
    except OSError as error:
        _fail(f"{error.filename or 'the disk'}: {error.strerror or error}")
    except Exception as error:  # whatever is left is a defect of condgen, or a machine at its limits
        if os.environ.get("CONDGEN_DEBUG"):
            raise
        _fail(f"unexpected {type(error).__name__}: {error} (set CONDGEN_DEBUG=1 and run again to see where)", 1)


def _fail(message: str, code: int = 2) -> NoReturn:
    if may_speak():
        error = typer.style("error: ", fg="red", bold=True) + shown(" ".join(message.split()))
        typer.echo(error, file=voice(sys.stderr, sys.__stderr__))  # in one piece: a launcher writes here too
    leave(code)
