"""Honest timings: variants take turns, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Generator, Mapping

import torch

__all__ = ["take_turns", "wait_for"]


def wait_for(device: torch.device) -> None:
    """Returns once the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, least_seconds: float = 0.2
) -> Generator[str, None, dict[str, float]]:
    """Times every variant once a round, in the order given, yielding the name of the one that comes next.

    A first round, which is not counted, warms up and finds how many calls fill `least_seconds`. Returns the median
    over rounds of the milliseconds per call of each.
    """
    calls, times = {}, {}
    for name, function in variants.items():
        yield name
        function()
        wait_for(device)
        started = time.perf_counter()
        function()
        wait_for(device)
        calls[name] = max(1, round(least_seconds / (time.perf_counter() - started)))
        times[name] = list[float]()
    for _ in range(rounds):
        for name, function in variants.items():
            yield name
            started = time.perf_counter()
            for _ in range(calls[name]):
                function()
            wait_for(device)
            times[name].append(1e3 * (time.perf_counter() - started) / calls[name])
    return {name: statistics.median(found) for name, found in times.items()}
