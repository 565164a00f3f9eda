"""`condgen import-diffusers`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.data import AnyData, Folder, load, parse_data
from condgen.errors import UserError
from condgen.recipes import apply_overrides
from condgen.runs import find_diffusers, import_stage, lock
from condgen.settings import parse
from condgen.training import Processes

__all__ = ["import_diffusers"]


def import_diffusers(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|hf:OWNER/NAME",
            help="What save_pretrained of a pipeline has written: an unconditional UNet2DModel and its scheduler.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="The images that classifiers are to tell apart: cifar10, or a folder with one sub-folder a class."
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help="Without --data, the names of the classes, separated by commas; data are named later."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/score-diffusers"),
    overrides: Overrides = None,
) -> None:
    """Take over a score model that diffusers has trained, so that a classifier can guide it.

    condgen import-diffusers hf:google/ddpm-cifar10-32 --data cifar10 --out runs/score-ddpm

    condgen train-classifier --score runs/score-ddpm --out runs/classifier-ddpm

    It has to see pixels in timesteps of betas (linear, scaled_linear or squaredcos_cap_v2) and tell epsilon, the sample
    or v. At whole timesteps it gives what diffusers gives, without the clipping of its samplers. Only safetensors are
    read.
    """
    if (data is None) == (names is None):
        raise UserError("the classes are those of --data NAME-OR-FOLDER, or --names cat,dog: give one of the two")
    found = find_diffusers(source)
    shape, settings = found.shape, None
    if data is not None:
        settings = _fitting(parse_data(data), shape, overrides or [])
        loaded = load(settings, "train")
        classes, of_data = loaded.names, loaded.shape
        if shape not in (None, of_data):
            raise UserError(
                f"{source} makes images of shape {shape}, those of {loaded.source} are {of_data}: name data that fit, "
                "or for a folder add --set data.image_size=SIDE"
            )
        shape = of_data
    else:
        classes = tuple(name.strip() for name in (names or "").split(","))
        if not all(classes) or len(set(classes)) < len(classes):
            raise UserError(f"--names {names!r}: names are separated by commas, none is empty, and no two are equal")
    if shape is None:
        raise UserError(f"{source} does not say how large its images are: name data of that size with --data")
    with lock(out):
        if follow(import_stage(out, found, shape, classes, settings), Processes()) == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
    console.print(f"model: {out}", markup=False)


def _fitting(data: AnyData, shape: tuple[int, ...] | None, overrides: list[str]) -> AnyData:
    """Settings of the data, images of a folder being as large as the model's unless something else is asked for."""
    tree = apply_overrides({"data": data.model_dump(mode="json")}, overrides)["data"]
    if isinstance(data, Folder) and tree["image_size"] is None and shape is not None and shape[1] == shape[2]:
        tree["image_size"] = shape[1]
    return parse(type(data), tree, "data")
