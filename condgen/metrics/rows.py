"""Figures with their intervals and conditions."""

import math

from pydantic import Field

from condgen.rows import AveragedRow, Estimate

REAL = "real (held out)"  # the method whose samples are the test split

_Z = 1.96


class MetricRow(AveragedRow):
    """One number with its conditions and its 95% interval."""

    method: str  # whose samples
    metric: str
    value: float | None
    n: int = Field(ge=1)  # samples measured
    features: str  # the space, or the judge, of the measurement
    reference: str  # the real samples that it is compared with, and how many of them
    floor: float | None  # the same metric of real samples; None where they cannot give it
    floor_n: int  # samples behind the floor
    seed: int | None = None  # of the draws behind floors and intervals


def symmetric(value: float, standard_error: float) -> Estimate:
    """The interval of 1.96 standard errors to either side."""
    return Estimate.within(value, _Z * standard_error)


def proportion(value: float, n: float) -> Estimate:
    """The Wilson (1927) interval of a fraction of n, which is sound at 0 and 1 too."""
    shrink = 1 + _Z**2 / n
    centre = (value + _Z**2 / (2 * n)) / shrink
    half = _Z / shrink * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    return Estimate(value, centre - half, centre + half)
