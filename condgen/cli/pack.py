"""`condgen pack`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from condgen.cli.terminal import say
from condgen.errors import UserError

__all__ = ["pack"]


def pack(
    samples: Annotated[Path, typer.Argument(help="A folder of samples, whole or all shards.")],
    out: Annotated[Path, typer.Option(help="The file, such as samples.tar or samples.parquet.")],
    form: Annotated[
        Literal["webdataset", "parquet"] | None, typer.Option("--format", help="By default as --out ends.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Samples a file; a larger set is split into several.")] = 10_000,
) -> None:
    """Write samples as a webdataset tar or a Parquet file: pictures, classes, seeds, and how each was drawn.

    datasets.load_dataset("parquet", data_files="samples.parquet") knows the pictures and the names of the classes;
    webdataset.WebDataset("samples.tar") gives png, cls and json. Parquet also holds points.
    """
    from condgen.export import SUFFIXES
    from condgen.export import pack as write

    chosen = form or SUFFIXES.get(out.suffix)
    if chosen is None:
        raise UserError(f"{out} ends in neither .tar nor .parquet: say --format webdataset or --format parquet")
    for path in write(samples, out, chosen, size):
        say(f"{path} ({path.stat().st_size:,} bytes)")
