"""`condgen doctor`."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say
from condgen.data.sets import load, parse_data
from condgen.errors import UserError
from condgen.runs.environment import describe_environment


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
