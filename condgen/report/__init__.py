"""From a run folder to a page that people send each other.

Tables are made by functions of their rows, and one `Table` is rendered as HTML, as Markdown and for a terminal.
"""

from condgen.report.build import build_report, summary_tables
from condgen.report.classifiers import classifier_table, draw_calibration
from condgen.report.compare import compare_runs
from condgen.report.generators import draw_previews
from condgen.report.held_out import draw_held_out, held_out_sentences, held_out_tables
from condgen.report.images import sample_grid
from condgen.report.load import Run, read_run
from condgen.report.page import Table, markdown_template, to_markdown, to_rich
from condgen.report.tables import errors_table, generator_table, metrics_table

__all__ = [
    "Run",
    "Table",
    "build_report",
    "classifier_table",
    "compare_runs",
    "draw_calibration",
    "draw_held_out",
    "draw_previews",
    "errors_table",
    "generator_table",
    "held_out_sentences",
    "held_out_tables",
    "markdown_template",
    "metrics_table",
    "read_run",
    "sample_grid",
    "summary_tables",
    "to_markdown",
    "to_rich",
]
