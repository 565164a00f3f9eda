"""Measures of samples against real ones; they know tensors and labelled sets, and no model but their extractors."""

from condgen.metrics.collapse import Gauge, Reading
from condgen.metrics.evaluate import Evaluation, Measures, evaluate, evaluating, helping
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Advance, Extractor, Features, Store, extract, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.metrics.kernel import KernelReference, kernel_distance
from condgen.metrics.measures import Goal, goal_of
from condgen.metrics.neighbours import Memory, prdc
from condgen.metrics.rows import REAL, MetricRow
from condgen.metrics.variety import classifier_score

__all__ = [
    "REAL",
    "Advance",
    "Evaluation",
    "Extractor",
    "Features",
    "Gauge",
    "Gaussian",
    "Goal",
    "Judge",
    "KernelReference",
    "Measures",
    "Memory",
    "MetricRow",
    "Reading",
    "Store",
    "classifier_score",
    "evaluate",
    "evaluating",
    "extract",
    "frechet_distance",
    "goal_of",
    "helping",
    "kernel_distance",
    "open_extractor",
    "pixels",
    "prdc",
]
