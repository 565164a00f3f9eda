"""`condgen bench scaling`."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from condgen.bench.scaling import Job, scaling_rows, variants
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, command_line, save, with_status
from condgen.runs import describe_environment, usable_cores

__all__ = ["scaling"]


def scaling(
    most: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="The most processes; by default one a GPU, or two on a CPU."),
    ] = None,
    steps: Annotated[int, typer.Option(min=10, help="Of training.")] = Job().steps,
    batch: Annotated[int, typer.Option(min=1, help="Images a step, over all processes.")] = Job().batch,
    samples: Annotated[int, typer.Option(min=1, help="Drawn from one model by every variant.")] = Job().samples,
    rounds: Annotated[int, typer.Option(min=1, help="Each variant runs once a round; the median counts.")] = 3,
    cpu: Annotated[bool, typer.Option("--cpu", help="Stay off GPUs.")] = False,
    out: Annotated[Path, typer.Option(help="A new folder, for what the processes write.")] = Path("runs/scaling"),
    json: JsonFile = None,
) -> None:
    """Train and sample with one process, two and more on this machine: time, and whether they compute the same.

    It starts the processes by itself. On a CPU each has one thread, and one process with as many threads as all have
    together stands beside them; with the defaults it takes about ten minutes on two cores.
    """
    cpu = cpu or not torch.cuda.is_available()
    most = most or (2 if cpu else torch.cuda.device_count())
    chosen, job = variants(most, usable_cores(), cpu=cpu), Job(steps, batch, samples)
    rows = with_status(scaling_rows(out, chosen, job, rounds, cpu=cpu))
    table = Table("variant", "training images/s", "speed-up", "sampling images/s", "speed-up", "weights", "pictures")
    for variant in map(str, chosen):
        own = {row["what"]: row["value"] for row in rows if row["variant"] == variant}
        table.add_row(
            variant,
            *(f"{own[f'training{of}']:.3g}" for of in ("", ", speed-up")),
            *(f"{own[f'sampling{of}']:.3g}" for of in ("", ", speed-up")),
            f"{own['greatest difference of a weight']:.1e}",
            f"{own['pictures equal byte for byte']:.1%}",
        )
    console.print(table)
    console.print(
        "weights: greatest difference from the first variant's, in units of the greatest; pictures: equal files"
    )
    what = {"command": command_line(), "rounds": rounds, **job._asdict(), **describe_environment()}
    save(json, {"what": what, "rows": rows})
