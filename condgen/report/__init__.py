"""From a run folder to a page that people send each other."""

from condgen.report.build import build_report
from condgen.report.findings import findings
from condgen.report.grids import labelled_grid, side_by_side
from condgen.report.tables import Table, cost_table, errors_table, metrics_table, to_markdown, to_rich

__all__ = [
    "Table",
    "build_report",
    "cost_table",
    "errors_table",
    "findings",
    "labelled_grid",
    "metrics_table",
    "side_by_side",
    "to_markdown",
    "to_rich",
]
