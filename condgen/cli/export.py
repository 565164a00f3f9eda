"""`condgen export`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say


def export(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of one of its models.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    license: Annotated[
        str, typer.Option(help="Licence of the weights, as the hub spells it: apache-2.0, mit, cc-by-4.0, ...")
    ] = "unknown",
) -> None:
    """Write models as a folder for the Hugging Face hub: weights, config.json, pictures, a model card.

    Of a run, each model goes into a sub-folder. Read the card before you publish it. An exported folder serves wherever
    a command takes the folder of a model, and so does hf:OWNER/NAME/SUB-FOLDER once it is on the hub.
    """
    from condgen.export import export as write

    source = write(folder, out, license)
    say(f"{', '.join(model.name for model in source.models)}\ncard: {(out / 'README.md').resolve()}")
    if license == "unknown":
        say("no licence is chosen: nobody may use the weights until you name one with --license")
