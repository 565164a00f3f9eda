"""`condgen export`, `push`, `pack`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import console
from condgen.errors import UserError
from condgen.hub import upload

__all__ = ["export", "push"]


def export(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of one of its models.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    license: Annotated[
        str, typer.Option(help="Licence of the weights, as the hub spells it: apache-2.0, mit, cc-by-4.0, ...")
    ] = "unknown",
) -> None:
    """Write models as a folder for the Hugging Face hub: weights, config.json, a model card, pictures, the report.

    Of a run, each model goes into a sub-folder. The card tells what the models are, how they were trained, what was
    measured and under which conditions, and how to use them; read it before you publish it. Wherever a command takes
    the folder of a model, the exported one works as well, and so does hf:OWNER/NAME/SUB-FOLDER once it is on the hub.
    """
    from condgen.export import export as write

    source = write(folder, out, license)
    names = ", ".join(model.name for model in source.models)
    console.print(f"{names}\ncard: {(out / 'README.md').resolve()}", markup=False, soft_wrap=True)
    if license == "unknown":
        console.print("no licence is chosen: nobody may use the weights until you name one with --license")


def push(
    folder: Annotated[Path, typer.Argument(help="What condgen export has written.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where to, on the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create it so that its owner alone sees it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the folder and list what would be uploaded.")
    ] = False,
) -> None:
    """Upload exported models to the Hugging Face hub. Log in first, with hf auth login or HF_TOKEN.

    The repository is created where there is none. In the cards, OWNER/NAME becomes its name.
    """
    from condgen.export import named, uploaded

    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"{repository!r} is no name of a repository: write owner/name")
    files = uploaded(folder)
    if dry_run:
        for path in files:
            console.print(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}", markup=False, soft_wrap=True)
        console.print(f"nothing was uploaded: {len(files)} files would go to {repository}", markup=False)
        return
    with named(folder, repository):
        address = upload(folder, repository, private=private)
    console.print(f"pushed: {address}", markup=False, soft_wrap=True)
