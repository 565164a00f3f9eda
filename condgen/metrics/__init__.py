"""Measures of samples against real ones; they know tensors and labelled sets, and no model but their extractors."""

from condgen.metrics.classifier_score import classifier_score
from condgen.metrics.collapse import Gauge, Reading
from condgen.metrics.evaluate import CasName, Evaluation, Measures, evaluate, evaluating, helping
from condgen.metrics.extractors import FEATURES_HELP, open_extractor
from condgen.metrics.features import Advance, Extractor, Features, Store, extract, extract_real, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.metrics.kernel import KernelReference, kernel_distance
from condgen.metrics.manifold import Manifold, classwise_prdc, nearest_radii, prdc
from condgen.metrics.measures import METRICS, Goal, goal_of
from condgen.metrics.memory import Memory, memory
from condgen.metrics.neighbours import Neighbours, nearest, nearest_others
from condgen.metrics.rows import REAL, MetricRow
from condgen.metrics.sliced import directions, sliced_wasserstein

__all__ = [
    "FEATURES_HELP",
    "METRICS",
    "REAL",
    "Advance",
    "CasName",
    "Evaluation",
    "Extractor",
    "Features",
    "Gauge",
    "Gaussian",
    "Goal",
    "Judge",
    "KernelReference",
    "Manifold",
    "Measures",
    "Memory",
    "MetricRow",
    "Neighbours",
    "Reading",
    "Store",
    "classifier_score",
    "classwise_prdc",
    "directions",
    "evaluate",
    "evaluating",
    "extract",
    "extract_real",
    "frechet_distance",
    "goal_of",
    "helping",
    "kernel_distance",
    "memory",
    "nearest",
    "nearest_others",
    "nearest_radii",
    "open_extractor",
    "pixels",
    "prdc",
    "sliced_wasserstein",
]
