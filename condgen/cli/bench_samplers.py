"""`condgen bench samplers`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from condgen.bench.parts import Work, choose, combine
from condgen.bench.samplers.bias import bias_rows
from condgen.bench.samplers.exact import exact_rows
from condgen.bench.samplers.grids import grid_rows
from condgen.bench.samplers.peers import require_peers
from condgen.bench.samplers.quality import quality_rows
from condgen.bench.samplers.speed import speed_rows
from condgen.bench.samplers.tolerances import tolerance_rows
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, Out, command_line, repeat, save, with_status
from condgen.cli.sampler_tables import PARTS, tables
from condgen.data import Cifar10, load
from condgen.errors import UserError
from condgen.recipes import Recipe
from condgen.runs import describe_environment, read_json
from condgen.training import Processes

__all__ = ["samplers"]

_BY_DEFAULT = ("tolerances", "bias", "quality", "exact")


def samplers(
    context: typer.Context,
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"{', '.join(PARTS)}: see above.")
    ] = None,
    recipe: Annotated[
        Path, typer.Option(help="quality, grids: the recipe of the models; its classifier dlsm guides.")
    ] = Path("recipes/digits.yaml"),
    seeds: Annotated[int, typer.Option(min=1, help="quality, grids, exact: how many seeds, from 0.")] = 3,
    samples: Annotated[int, typer.Option(min=20, help="quality, grids: samples a way and seed.")] = 360,
    scales: Annotated[
        list[float] | None,
        typer.Option("--scale", help="quality: of guidance, repeatable; 0 is none; by default 0 and 1.5."),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="tolerances: CIFAR-10 images of known score.")] = 1500,
    at_once: Annotated[
        int, typer.Option(min=1, help="tolerances: samples, the slowest of which is what the paper counts.")
    ] = 48,
    rounds: Annotated[int, typer.Option(min=1, help="speed: each loop is timed once a round; the median counts.")] = 5,
    peers: Annotated[
        bool, typer.Option(help="speed: time k-diffusion and diffusers too (uv sync --group bench).")
    ] = True,
    out: Out = None,
    json: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="quality: draw work and precision here, as PNG.")] = None,
) -> None:
    """Measure the samplers: what they cost, whether they are biased, what quality their evaluations buy.

    tolerances: evaluations of adaptive-sde beside those of its paper, with exact scores of CIFAR-10 images.

    bias: the std of samples of a Gaussian, in 1 to 256 dimensions.

    quality: digits, unguided and guided, at 5 to 1,000 evaluations; trains the models unless they are there.

    exact: the same with exact scores of CIFAR-10 images.

    grids: which time grid suits which sampler. speed: ours beside other libraries' loops.

    By default the first four, in 20 minutes on one core. Rows of parts that are not run stay in the file.
    """
    chosen = choose(parts or _BY_DEFAULT, PARTS)
    if picture is not None and "quality" not in chosen:
        raise UserError("--picture shows the part quality: add it, or leave the picture out")
    if "speed" in chosen and peers:
        require_peers()
    work: dict[str, Callable[[], Work]] = {
        "bias": bias_rows,
        "speed": lambda: speed_rows(Processes().device, rounds=rounds, peers=peers),
    }
    if {"tolerances", "exact"} & set(chosen):
        cifar = load(Cifar10(), "train")
        work["tolerances"] = lambda: tolerance_rows(cifar, images, at_once, Processes().device)
        work["exact"] = lambda: exact_rows(cifar, range(seeds))
    if {"quality", "grids"} & set(chosen):
        settings, folder = repeat(context, recipe, seeds, out, None, _check_guided)
        guidance = scales or [0.0, 1.5]
        work["quality"] = lambda: quality_rows(settings, folder, range(seeds), guidance, samples)
        work["grids"] = lambda: grid_rows(settings, folder, range(seeds), guidance[-1], samples)
    summary = read_json(json) if json is not None and json.exists() else None
    for part in chosen:
        started = time.perf_counter()
        rows = with_status(work[part]())
        for table in tables(part, rows):
            console.print(table)
        about = {"command": command_line(), "seconds": round(time.perf_counter() - started), **describe_environment()}
        summary = combine(summary, part, about, rows)
        save(json, summary, compact=True)
        if picture is not None and part == "quality":
            from condgen.report import draw_work

            draw_work(rows, picture)
            console.print(f"picture: {picture}", markup=False)


def _check_guided(recipe: Recipe) -> None:
    if "dlsm" not in recipe.classifiers:
        raise UserError(f"recipe {recipe.name!r} has no classifier called dlsm, which guides here: take digits.yaml")
