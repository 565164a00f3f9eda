"""`condgen samplers`."""

import inspect
from typing import Annotated

import typer
from rich.table import Table

from condgen.cli.settings import walk
from condgen.cli.terminal import console, say
from condgen.samplers import SAMPLERS, options_of, sampler_class


def samplers(
    name: Annotated[str | None, typer.Argument(help="One of them, to describe with its options.")] = None,
) -> None:
    """List the samplers: order, evaluations a step, noise, time grid, paper.

    condgen samplers

    condgen samplers ddim
    """
    if name is not None:
        _describe(name)
        return
    table = Table("sampler", "order", "evaluations a step", "noise", "time grid", "paper", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for each, sampler in SAMPLERS.items():
        info = sampler.info
        facts = (str(info.order or "-"), str(info.evaluations), info.noise, info.grid or "its own")
        table.add_row(each, *facts, info.paper.split(", arXiv")[0])
    console.print(table)
    say("\nOptions, each given as --option NAME=VALUE; condgen samplers NAME describes them:\n")
    for each in SAMPLERS:
        options = ", ".join(options_of(each).model_fields)
        if options:
            say(f"  {each:<20} {options}")


def _describe(name: str) -> None:
    sampler = sampler_class(name)
    info = sampler.info
    say(f"{name}: {(inspect.getdoc(sampler) or '').splitlines()[0]}\n")
    say(f"  paper        {info.paper}")
    say(f"  order        {info.order or 'none'} (of its deterministic part)")
    say(f"  evaluations  {info.evaluations} a step")
    say(f"  noise        {info.noise}")
    say(f"  time grid    {f'{info.grid}, {info.points} points by default' if info.grid else 'its own steps'}")
    for row in walk(options_of(name)):
        say(f"\n  --option {row.key}={row.default}  ({row.type})\n      {row.meaning}")
