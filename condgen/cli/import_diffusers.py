"""`condgen import-diffusers`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.inputs import data_settings, load_split
from condgen.cli.options import Device, Overrides
from condgen.cli.progress import work_in
from condgen.cli.terminal import say
from condgen.data.sets import Folder, parse_data
from condgen.errors import UserError
from condgen.runs.import_diffusers import Import, find_diffusers
from condgen.training.distributed import Processes


def import_diffusers(
    source: Annotated[str, typer.Argument(metavar="DIR|hf:OWNER/NAME", help="A pipeline, its UNet2DModel unlabelled.")],
    data: Annotated[str | None, typer.Option(help="Images for classifiers: cifar10, or a folder of classes.")] = None,
    names: Annotated[str | None, typer.Option(help="Without --data, the classes, separated by commas.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/score-diffusers"),
    device: Device = None,
    overrides: Overrides = None,
) -> None:
    """Convert a score model that was trained with diffusers, so that a classifier can guide it.

    condgen import-diffusers hf:google/ddpm-cifar10-32 --data cifar10 --out runs/score-ddpm

    condgen train-classifier --score runs/score-ddpm --out runs/classifier-ddpm

    It must work on pixels, with betas linear, scaled_linear or squaredcos_cap_v2, and predict epsilon, the sample or v,
    or be a rectified flow (FlowMatch... schedulers) or preconditioned (EDM... schedulers). At whole timesteps it equals
    diffusers without the clipping of its samplers. Only safetensors are read.
    """
    if (data is None) == (names is None):
        raise UserError("the classes are those of --data NAME-OR-FOLDER, or --names cat,dog: give one of the two")
    found, processes = find_diffusers(source), Processes()
    shape, settings = found.shape, None
    classes = tuple(name.strip() for name in (names or "").split(","))
    if data is not None:
        side = [f"data.image_size={shape[1]}"] if shape is not None and isinstance(parse_data(data), Folder) else []
        settings = data_settings(data, [*side, *(overrides or ())])
        loaded = load_split(settings, "train", processes)
        if shape not in (None, loaded.shape):
            shapes = f"{source} makes images of shape {shape}, those of {loaded.source} are {loaded.shape}"
            raise UserError(f"{shapes}: name data that fit, or for a folder add --set data.image_size=SIDE")
        classes, shape = loaded.names, loaded.shape
    if not all(classes) or len(set(classes)) < len(classes):
        raise UserError(f"--names {names!r}: names are separated by commas, none is empty, and no two are equal")
    if shape is None:
        raise UserError(f"{source} does not say how large its images are: name data of that size with --data")
    if work_in(out, Import("import", out, found.stage(classes, settings), found, shape).run(processes), processes):
        say(f"model: {out}")
