"""`condgen report`, `samplers` and `doctor`."""

import inspect
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from condgen.cli.settings import walk
from condgen.cli.terminal import console, say
from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.runs import describe_environment
from condgen.samplers import SAMPLERS, options_of, sampler_class


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder, or several to compare.")],
    out: Annotated[Path | None, typer.Option(help="The folder of a comparison; default: runs/comparison.")] = None,
) -> None:
    """Write report.html, report.md and report.json of a run, or one page that compares several.

    condgen report runs/digits

    condgen report runs/digits-0 runs/digits-1 runs/other --out runs/comparison

    A comparison shows the settings that differ, metrics, score errors, samples, cost and training. Runs of one recipe
    with different seeds are shown as mean and standard deviation over the seeds.
    """
    from condgen.report import build_report, compare_runs

    if len(folders) > 1:
        page = compare_runs(folders, out or Path("runs/comparison"))
    elif out is not None:
        raise UserError("--out is for comparisons: the report of one run lies in its own folder")
    else:
        page = build_report(folders[0])
    say(f"report: {page.resolve()}")


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


def doctor(out: Annotated[Path, typer.Option(help="Where runs would go.")] = Path("runs")) -> None:
    """Print versions, processors, devices, data sets and free disk space."""
    about = describe_environment()
    near = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    lines = {**about, **about.pop("machine")}
    lines["free disk"] = f"{shutil.disk_usage(near).free / 2**30:.1f} GiB in {near}"
    lines["writable"] = "yes" if os.access(near, os.W_OK) else f"no: choose another folder than {near}"
    for name in ("digits", "moons", "cifar10", "cifar100"):
        try:
            data = load(parse_data(name), "train")
        except UserError as error:
            lines[f"data: {name}"] = f"not found ({error})"
        else:
            lines[f"data: {name}"] = f"{len(data):,} training samples of shape {data.shape}"
    for name, value in lines.items():
        say(f"{name:<16} {value}")
