"""What a figure was made on: versions, processor, memory, device."""

import ctypes
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for mallopt


def keep_freed_memory() -> None:
    """Asks glibc to keep freed memory: else each large tensor of each step comes with fresh pages to map and clear."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment(device: torch.device | None = None) -> dict[str, Any]:
    """Versions and hardware, as plain JSON; the device is the first GPU, or else the CPU, where none is given."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cpus = Path("/proc/cpuinfo")  # of Linux
    named = re.search(r"^model name.*?: *(.+)", cpus.read_text() if cpus.exists() else "", re.MULTILINE)
    return {
        "condgen": version("condgen"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": {
            "cpu": named[1].strip() if named else platform.processor() or platform.machine(),
            "cores": usable_cores(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        },
    }
