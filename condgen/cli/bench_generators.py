"""`condgen bench generators`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table
from rich.text import Text

from condgen.bench.fixed_points import gaussian_facts
from condgen.bench.particles import line_facts, plane_facts
from condgen.bench.seeds import rows_over_seeds
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, Seeds, command_line, save, with_status
from condgen.runs import describe_environment

__all__ = ["generators", "rest_tables"]


def generators(
    context: typer.Context,
    seeds: Seeds = 3,
    particles: Annotated[
        int, typer.Option(min=20, help="Particles on the line; on the plane two thirds of them.")
    ] = 600,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the particles.")] = 150,
    json: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the particles on the plane here, as PNG.")] = None,
) -> None:
    """Find where each generator objective comes to rest when the networks that judge it are exact.

    A Gaussian generator x = g z of N(0, 1), for several lists of noise levels: an objective without bias rests at 1.

    Particles that move freely: of N(0, 1), of two modes, and of two moons on the plane.

    It trains nothing, and takes two and a half minutes of one core.
    """
    started = time.perf_counter()
    if context.obj is None:
        torch.set_num_threads(1)  # on which tensors of this size are fastest
    facts = with_status(gaussian_facts())
    facts += with_status(line_facts(range(seeds), particles, steps))
    on_plane, plane = with_status(plane_facts(range(seeds), 2 * particles // 3, steps))
    rows = rows_over_seeds(facts + on_plane)
    for table in rest_tables(rows):
        console.print(table)
    about = {"command": command_line(), "seconds": round(time.perf_counter() - started), "seeds": seeds, "steps": steps}
    save(json, {"what": about | describe_environment(), "rows": rows}, compact=True)
    if picture is not None:
        from condgen.report import draw_particles

        draw_particles(plane, picture)
        console.print(f"picture: {picture}", markup=False)


def rest_tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """For every problem and quantity a table, with a row an objective and a column a list of noise levels.

    Signs beside a rest are left to the rows: a rest has the same everywhere.

    Args:
        rows: whose size is "problem; sigma levels", or the problem alone for what has no noise.
    """
    tables: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["unit"] != "sign":
            problem, _, levels = row["size"].partition("; ")
            cells = tables.setdefault((row["what"], problem), {}).setdefault(row["variant"], {})
            cells[levels] = f"{row['value']:.3g}" + ("" if row["sd"] is None else f" ± {row['sd']:.1g}")
    made = []
    for (what, problem), found in tables.items():
        columns = list(dict.fromkeys(levels for cells in found.values() for levels in cells))
        table = Table(title=f"{what}, {problem}", title_justify="left")
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(column)
        for variant, cells in found.items():
            table.add_row(Text(variant), *(cells.get(column, "") for column in columns))
        made.append(table)
    return made
