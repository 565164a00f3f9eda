"""From a run folder to a page that people send each other."""

from condgen.report.build import build_report
from condgen.report.classifier_plots import draw_calibration
from condgen.report.classifier_section import classifier_rows
from condgen.report.comparison import compare_runs
from condgen.report.dresses import to_markdown, to_rich
from condgen.report.error_picture import draw_errors
from condgen.report.findings import findings
from condgen.report.generator_section import generator_table
from condgen.report.grids import labelled_grid, side_by_side
from condgen.report.inputs import read_run
from condgen.report.looks import draw_looks
from condgen.report.rows import looks_of
from condgen.report.tables import Table, classifier_table, cost_table, errors_table, metrics_table
from condgen.report.trajectory_section import draw_trajectories

__all__ = [
    "Table",
    "build_report",
    "classifier_rows",
    "classifier_table",
    "compare_runs",
    "cost_table",
    "draw_calibration",
    "draw_errors",
    "draw_looks",
    "draw_trajectories",
    "errors_table",
    "findings",
    "generator_table",
    "labelled_grid",
    "looks_of",
    "metrics_table",
    "read_run",
    "side_by_side",
    "to_markdown",
    "to_rich",
]
