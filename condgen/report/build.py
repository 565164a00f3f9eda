"""From a run folder to its report."""

from pathlib import Path

from condgen import __version__
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.advice import advise
from condgen.report.classifier_section import classifier_section
from condgen.report.drawing import method_styles
from condgen.report.findings import closest_in_words, findings
from condgen.report.generator_section import generator_section
from condgen.report.inputs import Run, read_run
from condgen.report.neighbour_section import neighbour_section
from condgen.report.page import Page
from condgen.report.rows import looks_of
from condgen.report.score_sections import errors_section, field_section
from condgen.report.sections import (
    cost_section,
    metrics_section,
    reproduce_section,
    run_section,
    samples_section,
    training_section,
)
from condgen.report.trajectory_section import trajectory_section
from condgen.report.writing import write_page

__all__ = ["build_report"]


def build_report(folder: Path) -> Path:
    """Writes `report.html`, `report.md` and `report.json` into a run folder.

    Args:
        folder: of a run; sections whose files it lacks are left out.

    Returns:
        The path of the page.

    Raises:
        UserError: no such folder, nothing in it to show, or a file that is not what its name says.
    """
    with blamed_on(folder):
        run = read_run(folder)
        if run.is_empty:
            raise UserError(f"{folder} holds nothing to report; run a recipe into it first (condgen run RECIPE)")
        page = _page(run)
    return write_page(folder, page, _facts(run, page))


def _page(run: Run) -> Page:
    methods = [row["method"] for row in (*run.metrics, *run.cost, *run.errors)]
    styles = method_styles([*methods, *(row["classifier"] for row in run.classifiers), *run.checks])
    sections = (
        run_section(run),
        samples_section(run),
        errors_section(run, styles),
        field_section(run),
        classifier_section(run, styles),
        generator_section(run),
        metrics_section(run),
        neighbour_section(run),
        trajectory_section(run),
        cost_section(run),
        training_section(run),
        reproduce_section(run),
    )
    return Page(
        name=run.name,
        findings=tuple(findings(run.metrics, run.errors, run.cost, run.looks)),
        sections=tuple(section for section in sections if section is not None),
        version=__version__,
        lead=advise(run.metrics, run.cost, _collapsed(run)) if run.metrics else closest_in_words(run.errors),
    )


def _collapsed(run: Run) -> set[str]:
    """Methods whose generator has collapsed, by the names of samples: a recipe may call them otherwise."""
    generators = {name for name, looks in looks_of(run.looks).items() if looks[-1].reading.collapsed}
    return {method for method, generator in run.drawn_by().items() if generator in generators} | generators


def _facts(run: Run, page: Page) -> dict[str, object]:
    """The rows as they were read, and the sentences made of them."""
    what = {"run": run.about, "diagnostics": run.diagnosed, "metrics": run.evaluated, "classifiers": run.calibrated}
    rows = {"stages": run.stages, "diagnostics": run.errors, "metrics": run.metrics, "cost": run.cost}
    rows |= {"classifiers": run.classifiers, "looks": run.looks, "neighbours": run.neighbours}
    head = {"name": page.name, "condgen": page.version, "advice": page.lead, "findings": page.findings}
    return {**head, "what": what, "rows": rows, "recipe": run.recipe}
