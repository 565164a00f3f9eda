"""Measures of samples against real ones; they know tensors and labelled sets, and no model but their extractors."""

from condgen.metrics.collapse import Gauge, Reading
from condgen.metrics.evaluate import Evaluation, Measures, evaluating, helping
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Advance, Store
from condgen.metrics.measures import Goal, goal_of
from condgen.metrics.neighbours import Memory
from condgen.metrics.rows import REAL, MetricRow

__all__ = [
    "REAL",
    "Advance",
    "Evaluation",
    "Gauge",
    "Goal",
    "Measures",
    "Memory",
    "MetricRow",
    "Reading",
    "Store",
    "evaluating",
    "goal_of",
    "helping",
    "open_extractor",
]
