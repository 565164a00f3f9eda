"""Measures of samples against real ones; they know tensors and labelled sets, never models."""

from condgen.metrics.collapse import Gauge, Reading
from condgen.metrics.evaluate import REAL, MetricRow, evaluate
from condgen.metrics.features import Extractor, extract, extract_real, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.metrics.manifold import Manifold, classwise_prdc, nearest_radii, prdc
from condgen.metrics.sliced import directions, sliced_wasserstein

__all__ = [
    "REAL",
    "Extractor",
    "Gauge",
    "Gaussian",
    "Judge",
    "Manifold",
    "MetricRow",
    "Reading",
    "classwise_prdc",
    "directions",
    "evaluate",
    "extract",
    "extract_real",
    "frechet_distance",
    "nearest_radii",
    "pixels",
    "prdc",
    "sliced_wasserstein",
]
