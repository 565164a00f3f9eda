"""What a figure was made on: versions, processor, memory, device."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_environment", "usable_cores"]


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, as plain JSON."""
    cuda = torch.cuda.is_available()
    return {
        "condgen": version("condgen"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": {
            "cpu": _cpu_name(),
            "cores": usable_cores(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "device": torch.cuda.get_device_name() if cuda else "cpu",
        },
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
