"""`condgen pack`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say
from condgen.errors import UserError


def pack(
    samples: Annotated[Path, typer.Argument(help="A folder of samples, whole or all shards.")],
    out: Annotated[Path, typer.Option(help="The file, such as samples.tar or samples.parquet.")],
    size: Annotated[int, typer.Option(min=1, help="Samples a file; a larger set is split into several.")] = 10_000,
) -> None:
    """Write samples as a webdataset tar or a Parquet file: pictures, classes, seeds, and how each was drawn.

    datasets.load_dataset("parquet", data_files="samples.parquet") knows the pictures and the names of the classes;
    webdataset.WebDataset("samples.tar") gives png, cls and json. Parquet also holds points.
    """
    from condgen.export import SUFFIXES
    from condgen.export import pack as write

    if out.suffix not in SUFFIXES:
        raise UserError(f"{out} ends in neither .tar, for a webdataset, nor .parquet: rename it")
    for path in write(samples, out, SUFFIXES[out.suffix], size):
        say(f"{path} ({path.stat().st_size:,} bytes)")
