"""`condgen bench train`."""

from typing import Annotated, Any

import typer
from rich.table import Table

from condgen.bench.train import TRAIN_SIZES, bench_train
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, command_line, save
from condgen.errors import UserError
from condgen.runs import describe_environment
from condgen.training import Processes

__all__ = ["training"]


def training(
    size: Annotated[
        str | None, typer.Option(help=f"{', '.join(TRAIN_SIZES)}; by default cpu, or gpu where there is one.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each variant is timed once a round; the median counts.")] = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="Our steps compiled too: minutes more.")] = False,
    json: JsonFile = None,
) -> None:
    """Time a training step: a score model beside diffusers' and denoising-diffusion-pytorch's, and classifiers.

    By precision, all in one run and taking turns, with as many parameters each (M, in millions); steps are whole ones,
    from reading data to averaging weights. The share of the ceiling is of the faster of a matrix product and a
    convolution; "of peer" is the speed in that of the faster library in the same precision. Libraries that are not
    installed are left out (uv sync --group bench). It takes some minutes on a CPU.
    """
    device = Processes().device
    chosen = size or ("gpu" if device.type == "cuda" else "cpu")
    if chosen not in TRAIN_SIZES:
        raise UserError(f"there is no size {chosen!r}: choose among {', '.join(TRAIN_SIZES)}")
    rows, missing = _followed(chosen, device, rounds, compiled)
    for line in missing:
        console.print(line, markup=False)
    table = Table("step", "images/s", "ms", "M", "TFLOP/s", "of ceiling", "of peer", title=rows[0]["size"])
    for variant in dict.fromkeys(row["variant"] for row in rows if row["what"] == "step"):
        found = {row["what"]: row["value"] for row in rows if row["variant"] == variant}
        table.add_row(
            variant,
            f"{found['speed']:,.1f}",
            f"{found['step']:,.4g}",
            f"{found['parameters'] / 1e6:.1f}",
            f"{found['rate']:.3g}",
            f"{found['share']:.0%}",
            f"{found['relative speed']:.2f}" if "relative speed" in found else "",
        )
    console.print(table)
    for row in rows:
        if row["what"] == "ceiling":
            console.print(f"ceiling, {row['variant']}: {row['value']:.3g} TFLOP/s", markup=False)
    save(json, {"what": {"command": command_line(), "rounds": rounds, **describe_environment()}, "rows": rows})


def _followed(size: str, device: Any, rounds: int, compiled: bool) -> tuple[list[dict[str, Any]], list[str]]:  # noqa: ANN401
    """The rows of a bench, and what it said of libraries that are missing."""
    work, missing = bench_train(size, device, rounds, compiled), list[str]()
    with console.status("") as status:
        while True:
            try:
                text = next(work)
            except StopIteration as stop:
                return stop.value, missing
            status.update(text)
            if "is not installed" in text:
                missing.append(text)
