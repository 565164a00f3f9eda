"""`condgen samplers`."""

import inspect
from typing import Annotated

import typer
from rich.table import Table

from condgen.cli.progress import console
from condgen.sampling import SAMPLERS, SamplerName, options_of

__all__ = ["samplers"]


def samplers(
    name: Annotated[SamplerName | None, typer.Argument(help="One of them, to read of its options.")] = None,
) -> None:
    """List the samplers: order, evaluations a step, whether they draw noise, options, paper.

    condgen samplers

    condgen samplers ddim
    """
    if name is not None:
        _describe(name)
        return
    table = Table(box=None, pad_edge=False)
    for head in ("sampler", "order", "evaluations", "noise", "time grid", "paper"):
        table.add_column(head, no_wrap=head == "sampler")
    for each, sampler in SAMPLERS.items():
        about = sampler.about
        facts = (str(about.order), str(about.evaluations), about.noise, about.grid or "its own")
        table.add_row(each, *facts, about.paper.split(", arXiv")[0])
    console.print(table)
    console.print(
        "\nEvaluations are of the denoiser, a step. Options, each given as --option NAME=VALUE:\n", markup=False
    )
    for each in SAMPLERS:
        options = ", ".join(options_of(each).model_fields)
        if options:
            console.print(f"  {each:<20} {options}", markup=False, soft_wrap=True)
    console.print("\ncondgen samplers NAME tells what they mean.", markup=False)


def _describe(name: SamplerName) -> None:
    sampler, options = SAMPLERS[name], options_of(name)
    about = sampler.about
    facts = {
        "paper": about.paper,
        "order": f"{about.order} (of its deterministic part)",
        "evaluations": f"{about.evaluations} a step",
        "fresh noise": about.noise,
        "time grid": about.grid or "chooses its own steps, for every sample by itself",
    }
    console.print(f"{name}: {(inspect.getdoc(sampler) or '').splitlines()[0]}\n", markup=False)
    for what, fact in facts.items():
        console.print(f"  {what:<12} {fact}", markup=False, soft_wrap=True)
    for option, field in options.model_fields.items():
        console.print(f"\n  --option {option}={field.default}", markup=False)
        console.print(f"      {field.description}", markup=False, soft_wrap=True)
