"""`condgen samplers`."""

import inspect
from typing import Annotated, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.table import Table

from condgen.cli.progress import console
from condgen.samplers import SAMPLERS, options_of, sampler_class

__all__ = ["samplers"]


def samplers(
    name: Annotated[str | None, typer.Argument(help="One of them, to read of its options.")] = None,
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
        info = sampler.info
        facts = (str(info.order or "-"), str(info.evaluations), info.noise, info.grid or "its own")
        table.add_row(each, *facts, info.paper.split(", arXiv")[0])
    console.print(table)
    console.print(
        "\nEvaluations are of the denoiser, a step. Options, each given as --option NAME=VALUE:\n", markup=False
    )
    for each in SAMPLERS:
        options = ", ".join(options_of(each).model_fields)
        if options:
            console.print(f"  {each:<20} {options}", markup=False, soft_wrap=True)
    console.print("\ncondgen samplers NAME tells what they mean.", markup=False)


def _describe(name: str) -> None:
    sampler, options = sampler_class(name), options_of(name)
    info = sampler.info
    facts = {
        "paper": info.paper,
        "order": f"{info.order or 'none'} (of its deterministic part)",
        "evaluations": f"{info.evaluations} a step",
        "fresh noise": info.noise,
        "time grid": f"{info.grid}, {info.points} points unless told otherwise" if info.grid else "its own steps",
    }
    console.print(f"{name}: {(inspect.getdoc(sampler) or '').splitlines()[0]}\n", markup=False)
    for what, fact in facts.items():
        console.print(f"  {what:<12} {fact}", markup=False, soft_wrap=True)
    for option, field in options.model_fields.items():
        default = "(not set)" if field.default is None else field.default
        console.print(f"\n  --option {option}={default}", markup=False)
        console.print(f"      {field.description}{_allowed(field)}", markup=False, soft_wrap=True)


def _allowed(field: FieldInfo) -> str:
    """The choices or the bounds of an option, in brackets."""
    if get_origin(field.annotation) is Literal:
        return f" ({' or '.join(str(choice) for choice in get_args(field.annotation))})"
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = [
        f"{word} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, word in words.items()
        if hasattr(bound, name)
    ]
    return f" ({', '.join(bounds)})" if bounds else ""
