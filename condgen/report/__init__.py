"""From a run folder to a page that people send each other."""

from condgen.report.build import build_report as build_report, summary_tables as summary_tables
from condgen.report.compare import compare_runs as compare_runs
from condgen.report.load import Run as Run, read_run as read_run
from condgen.report.models import (
    classifier_table as classifier_table,
    draw_calibration as draw_calibration,
    draw_previews as draw_previews,
)
from condgen.report.page import (
    Table as Table,
    open_template as open_template,
    to_markdown as to_markdown,
    to_rich as to_rich,
)
from condgen.report.samples import sample_grid as sample_grid
from condgen.report.score_errors import (
    draw_held_out as draw_held_out,
    held_out_sentences as held_out_sentences,
    held_out_tables as held_out_tables,
)
from condgen.report.tables import generator_table as generator_table, metrics_table as metrics_table
