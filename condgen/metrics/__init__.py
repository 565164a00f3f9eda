"""Measures of samples against real ones; they know tensors and labelled sets, and no model but their extractors."""

from condgen.metrics.collapse import Gauge as Gauge, Reading as Reading
from condgen.metrics.evaluate import Evaluation as Evaluation, Measures as Measures, evaluating as evaluating
from condgen.metrics.extractors import open_extractor as open_extractor
from condgen.metrics.features import Advance as Advance, Store as Store
from condgen.metrics.measures import REAL as REAL, Goal as Goal, MetricRow as MetricRow, goal_of as goal_of
from condgen.metrics.neighbours import Memory as Memory
