"""`condgen export`, `push`, `pack`, `tensorboard`."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from condgen.cli.progress import console
from condgen.errors import UserError
from condgen.hub import upload

__all__ = ["export", "pack", "push", "tensorboard"]


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

    The repository is created where there is none. In the cards, OWNER/NAME becomes its name. What came into the folder
    after the export stays here.
    """
    from condgen.export import contents

    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"{repository!r} is no name of a repository: write owner/name")
    files = contents(folder, repository)
    if dry_run:
        for file, content in files.items():
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            console.print(f"{size:>12,}  {file}", markup=False, soft_wrap=True)
        console.print(f"nothing was uploaded: {len(files)} files would go to {repository}", markup=False)
        return
    address = upload(files, repository, f"condgen push {folder.resolve().name}", private=private)
    console.print(f"pushed: {address}", markup=False, soft_wrap=True)


def pack(
    samples: Annotated[Path, typer.Argument(help="A folder that condgen sample has written, whole or all shards.")],
    out: Annotated[Path, typer.Option(help="The file, such as samples.tar or samples.parquet.")],
    form: Annotated[
        Literal["webdataset", "parquet"] | None,
        typer.Option("--format", help="webdataset: a tar. parquet: for datasets. By default as --out ends."),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Samples a file; a larger set is split into several.")] = 10_000,
) -> None:
    """Put samples into one file that training pipelines read: pictures, classes, seeds, and how each came about.

    datasets.load_dataset("parquet", data_files="samples.parquet") knows the pictures and the names of the classes;
    webdataset.WebDataset("samples.tar") gives png, cls and json. Points have no pictures: Parquet holds their
    coordinates.
    """
    from condgen.export import SUFFIXES
    from condgen.export import pack as write

    chosen = form or SUFFIXES.get(out.suffix)
    if chosen is None:
        raise UserError(f"{out} ends in neither .tar nor .parquet: say --format webdataset or --format parquet")
    for path in write(samples, out, chosen, size):
        console.print(f"{path} ({path.stat().st_size:,} bytes)", markup=False, soft_wrap=True)


def tensorboard(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of a model in training.")],
    out: Annotated[Path | None, typer.Option(help="For the event files; by default FOLDER/tensorboard.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on, and add what a run at work logs, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two looks at the logs.")] = 5.0,
) -> None:
    """Write the logs of a run as event files: losses, looks, accuracy by noise level, pictures of samples.

    The same command again adds what is new. Show them by tensorboard --logdir FOLDER/tensorboard.
    """
    from condgen.export import EVENTS, Events
    from condgen.files import within

    place = out or within(folder, EVENTS)
    with closing(Events(folder, place)) as events:
        try:
            added = events.update()
            console.print(
                f"{added:,} new rows and pictures\ntensorboard --logdir {place}", markup=False, soft_wrap=True
            )
            while follow:
                time.sleep(every)
                if added := events.update():
                    console.print(f"{added:,} more", markup=False)
        except KeyboardInterrupt:
            console.print("stopped", markup=False)
