"""Figures of several seeds, gathered into tidy rows."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["Fact", "rows_over_seeds"]


class Fact(NamedTuple):
    """One figure of one seed."""

    what: str
    variant: str
    size: str
    unit: str
    value: float


def rows_over_seeds(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """Mean and standard deviation of facts that differ in their value alone.

    Returns:
        Rows {"what", "variant", "size", "value", "sd", "seeds", "unit"}, in order of first appearance.
    """
    values: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for fact in facts:
        values[fact.what, fact.variant, fact.size, fact.unit].append(fact.value)
    return [
        {
            "what": what,
            "variant": variant,
            "size": size,
            "value": statistics.fmean(found),
            "sd": statistics.stdev(found) if len(found) > 1 else None,
            "seeds": len(found),
            "unit": unit,
        }
        for (what, variant, size, unit), found in values.items()
    ]
