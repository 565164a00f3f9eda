"""`condgen tensorboard`."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say
from condgen.files import within


def tensorboard(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of a model in training.")],
    out: Annotated[Path | None, typer.Option(help="For the event files; default: FOLDER/tensorboard.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep adding what a run at work logs, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two looks at the logs.")] = 5.0,
) -> None:
    """Write the logs of a run as TensorBoard event files: losses, previews, accuracy by noise level, samples.

    The same command again adds what is new. Show them by tensorboard --logdir FOLDER/tensorboard.
    """
    from condgen.export import EVENTS, Events

    place = out or within(folder, EVENTS)
    with closing(Events(folder, place)) as events:
        try:
            say(f"{events.update():,} new rows and pictures\ntensorboard --logdir {place}")
            while follow:
                time.sleep(every)
                if added := events.update():
                    say(f"{added:,} more")
        except KeyboardInterrupt:
            say("stopped")
