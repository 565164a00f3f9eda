"""From a run folder to its report."""

from pathlib import Path

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.classifiers import classifiers_section
from condgen.report.figures import INK, Style, curve_panel, method_styles
from condgen.report.findings import advise, findings
from condgen.report.generators import generators_section
from condgen.report.load import Run, read_run
from condgen.report.neighbours import neighbours_section
from condgen.report.page import Block, Code, Figure, Page, Prose, Section, facts_table, write_page
from condgen.report.samples import samples_section
from condgen.report.score_errors import errors_section, fields_section
from condgen.report.tables import (
    class_tables,
    cost_table,
    methods_table,
    metrics_tables,
    stages_table,
)
from condgen.report.trajectories import trajectories_section
from condgen.runs.layout import DIAGNOSTICS, METRICS

__all__ = ["build_report"]


def build_report(folder: Path) -> Path:
    """Writes `report.html`, `report.md` and `report.json` into a run folder, and returns the path of the first.

    Raises:
        UserError: no such folder, nothing in it to show, or a file that is not what its name says.
    """
    with blamed_on(folder):
        run = read_run(folder)
        if run.is_empty:
            raise UserError(f"{folder} holds nothing to report; run a recipe into it first (condgen run RECIPE)")
        methods = [row.method for rows in (run.metrics, run.cost, run.errors) for row in rows]
        styles = method_styles([*methods, *run.classifiers, *run.checks])
        sections = (
            _run_section(run),
            samples_section(run),
            errors_section(run, styles),
            fields_section(run),
            classifiers_section(run, styles),
            generators_section(run),
            _metrics_section(run),
            neighbours_section(run),
            trajectories_section(run),
            Section("cost", "Cost", (cost_table(run.cost),)) if run.cost else None,
            _training_section(run),
            _reproduce_section(run),
        )
        advice = advise(run.metrics, run.cost, run.collapsed_methods())
        page = Page(run.name, advice, tuple(findings(run)), tuple(filter(None, sections)))
        return write_page(folder, page, _data(run))


def _data(run: Run) -> dict[str, object]:
    """The rows of the report, for JSON."""
    rows: dict[str, object] = {
        "stages": run.stages,
        "diagnostics": run.errors,
        "metrics": run.metrics,
        "by_class": run.by_class,
        "cost": run.cost,
        "classifiers": run.classifiers,
        "previews": {name: log.previews for name, log in run.generators.items()},
        "neighbours": run.neighbours,
    }
    return {"about": run.about, "conditions": run.conditions, "rows": rows, "recipe": run.recipe}


def _run_section(run: Run) -> Section | None:
    """Recipe, machine, versions, methods, and the time of every stage."""
    about, data, notes = run.about, run.settings.get("data"), run.about.get("notes") or []
    facts = {
        "recipe": run.name,
        "data": data.get("kind") if isinstance(data, dict) else None,
        "seed": run.settings.get("seed"),
        "time": _duration(sum(stage.seconds or 0.0 for stage in run.stages)) if run.stages else None,
        "started": str(about.get("started", "")).replace("T", " ", 1) or None,
        "versions": {key: about[key] for key in ("condgen", "python", "torch") if key in about} or None,
        "machine": about.get("machine"),
    }
    diagnosed = run.conditions.get(DIAGNOSTICS, {}).get("methods")
    methods = methods_table(run.cost, diagnosed if isinstance(diagnosed, dict) else {})
    blocks: list[Block] = facts_table("The run", facts, folded=False) if about else []
    blocks += [methods] if methods.rows else []
    blocks += [stages_table(run.stages)] if run.stages else []
    blocks += [Prose(str(note)) for note in (notes if isinstance(notes, list) else [notes])]
    return Section("run", "What was run", tuple(blocks)) if blocks else None


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _metrics_section(run: Run) -> Section | None:
    """Sample quality, with intervals and floors."""
    conditions = facts_table("Conditions of the metrics", run.conditions.get(METRICS, {}))
    blocks = (*metrics_tables(run.metrics), *class_tables(run.by_class), *conditions)
    return Section("metrics", "Sample quality", blocks) if run.metrics else None


def _training_section(run: Run) -> Section | None:
    """The loss of every stage that trained something."""
    style = {"": Style(INK, "o")}
    panels = tuple(curve_panel(stage, {"": curve}, style) for stage, curve in run.losses.items())
    caption = (
        "Lines are means over equal stretches of the log, the band their extremes. Losses of different objectives "
        "cannot be compared with each other."
    )
    return Section("training", "Training", (Figure("Loss against step", panels, caption),)) if panels else None


def _reproduce_section(run: Run) -> Section | None:
    """The command and the recipe."""
    command, version = run.about.get("command"), run.about.get("condgen")
    blocks: list[Block] = []
    if command:
        text = f"The same command, recipe and seed with condgen {version} give the same run, but for timings."
        blocks += [Prose(text), Code("Command", str(command))]
    if run.recipe:
        blocks.append(Code("Recipe, with every setting resolved", run.recipe.rstrip(), folded=True))
    return Section("reproduce", "How to reproduce", tuple(blocks)) if blocks else None
