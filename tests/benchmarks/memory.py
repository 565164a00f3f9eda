"""What a piece of work needs at its peak, on a device or in the process."""

import contextlib
import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["forget_peak", "high_water", "peak_of"]


def peak_of(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that work needs above what is held when it begins."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return float(torch.cuda.max_memory_allocated(device) - before)
    _give_back()
    before_work = forget_peak()
    work()
    return max(high_water() - before_work, 0.0)


def _give_back() -> None:
    """Returns freed memory to the system, or work would find room in it unseen."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> float:
    """Sets the peak of this process's memory to what it holds now, and returns that, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux: the peak so far stands
        return high_water()
    return high_water()


def high_water() -> float:
    """The peak of this process's memory, in bytes."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return 1024.0 * int(found[1])
    import resource

    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
