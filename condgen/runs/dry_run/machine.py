"""What there is to run on and with: data, memory, and settings that can be tried quickly."""

import re
from pathlib import Path
from typing import Any, TypeVar

import torch

from condgen.data import LabelledSet, Split, load
from condgen.errors import UserError
from condgen.recipes import Recipe
from condgen.rng import keyed_generator
from condgen.settings import Settings

__all__ = ["data_of", "free_memory", "name_of", "resident", "uncompiled"]

_CLASSES = {"cifar10": 10, "cifar100": 100}
_SIZES: tuple[tuple[Split, int], ...] = (("train", 50_000), ("test", 10_000))  # of CIFAR
_SHAPE = (3, 32, 32)

Some = TypeVar("Some", bound=Settings)


def data_of(recipe: Recipe) -> tuple[LabelledSet, LabelledSet, str]:
    """Both splits of the data, and nothing; where CIFAR is not here, noise of its shape and size, and what to do."""
    try:
        return load(recipe.data, "train"), load(recipe.data, "test"), ""
    except UserError as error:
        if recipe.data.kind not in _CLASSES:
            raise
        kind = recipe.data.kind
        train, test = (
            LabelledSet(
                x=torch.randint(256, (n, *_SHAPE), generator=keyed_generator(0), dtype=torch.uint8),
                y=torch.arange(n) % _CLASSES[kind],
                names=tuple(str(label) for label in range(_CLASSES[kind])),
                source=kind,
                split=split,
            )
            for split, n in _SIZES
        )
        return train, test, f"{error}. Here noise stands in for it, and what the run folder holds is not looked at"


def name_of(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}"


def free_memory(device: torch.device) -> int:
    """Bytes that a run could take: of the device, or of the machine where that is the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    path = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return 1024 * int(found[1]) + resident() if found else 2**63 - 1


def resident() -> int:
    """Bytes that this process holds, which the run would hold as well."""
    path = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return 1024 * int(found[1]) if found else 0


def uncompiled(settings: Some) -> Some:
    """The same settings without compilation, which takes minutes and is not what a dry run is for."""
    changes: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "compile" and value:
            changes[name] = False
        elif isinstance(value, Settings):
            changes[name] = uncompiled(value)
    return settings.model_copy(update=changes)
