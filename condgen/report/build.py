"""From a run folder to its report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.classifiers import classifiers_section
from condgen.report.figures import INK, Style, curve_panel, method_styles
from condgen.report.findings import advise, advise_by_scores, findings
from condgen.report.generators import generators_section
from condgen.report.load import Run, read_run
from condgen.report.neighbours import neighbours_section
from condgen.report.page import Block, Code, Figure, Page, Prose, Section, Table, facts_of, write_page
from condgen.report.rows import MetricRow, Row
from condgen.report.samples import samples_section
from condgen.report.score_errors import errors_section, fields_section
from condgen.report.tables import (
    class_tables,
    cost_table,
    methods_table,
    metrics_table,
    stages_table,
)
from condgen.report.trajectories import trajectories_section

__all__ = ["as_json", "build_report", "metrics_tables"]

_COLUMNS = 8  # metrics of a table
_OVERLAP = ("precision", "recall", "density", "coverage")
_WITHIN = (
    "Samples of another class than the one asked for count against precision, density and coverage here. Recall alone "
    "is high where samples are scattered widely, right or wrong. "
)


def build_report(folder: Path) -> Path:
    """Writes `report.html`, `report.md` and `report.json` into a run folder, and returns the path of the first.

    Raises:
        UserError: no such folder, nothing in it to show, or a file that is not what its name says.
    """
    with blamed_on(folder):
        run = read_run(folder)
        if run.is_empty:
            raise UserError(f"{folder} holds nothing to report; run a recipe into it first (condgen run RECIPE)")
        styles = method_styles([*run.methods(), *run.classifiers, *run.checks])
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
        advice = advise(run.metrics, run.cost, run.collapsed_methods()) if run.metrics else advise_by_scores(run.errors)
        page = Page(run.name, advice, tuple(findings(run)), tuple(filter(None, sections)))
        return write_page(folder, page, _data(run))


def _data(run: Run) -> dict[str, object]:
    """The rows of the report, for JSON."""
    rows: dict[str, Sequence[Row]] = {
        "stages": run.stages,
        "diagnostics": run.errors,
        "metrics": run.metrics,
        "by_class": run.by_class,
        "cost": run.cost,
        "classifiers": [row for rows in run.classifiers.values() for row in rows],
        "previews": [row for log in run.generators.values() for row in log.previews],
        "neighbours": run.neighbours,
    }
    found = {name: as_json(found) for name, found in rows.items()}
    return {"what": {"run": run.about, **run.conditions}, "rows": found, "recipe": run.recipe}


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as their files have them."""
    return [row.model_dump(by_alias=True, exclude_none=True) for row in rows]


# ----------------------------------------------------------------------------------------------------
# Short sections


def _run_section(run: Run) -> Section | None:
    """Recipe, machine, versions, methods, and the time of every stage."""
    machine, data, notes = run.about.get("machine"), run.settings.get("data"), run.about.get("notes") or []
    seconds = sum(stage.seconds or 0.0 for stage in run.stages)
    facts = {
        "recipe": run.name,
        "data": data.get("kind") if isinstance(data, dict) else None,
        "seed": run.settings.get("seed"),
        "time": _duration(seconds) if run.stages else None,
        "started": str(run.about.get("started", "")).replace("T", " ", 1) or None,
        **{name: run.about.get(name) for name in ("condgen", "python", "torch")},
        **(machine if isinstance(machine, dict) else {}),
    }
    diagnosed = run.conditions.get("diagnostics", {}).get("methods")
    methods = methods_table(run.cost, diagnosed if isinstance(diagnosed, dict) else {})
    blocks: list[Block] = facts_of(facts) if run.about else []
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
    if not run.metrics:
        return None
    what = dict(run.conditions.get("metrics", {}))
    counts = what.get("samples")
    if isinstance(counts, dict) and len(set(map(str, counts.values()))) == 1:
        what["samples"] = f"{next(iter(counts.values()))} by each method"
    blocks = (*metrics_tables(run.metrics), *facts_of(what), *class_tables(run.by_class))
    return Section("metrics", "Sample quality", blocks)


def metrics_tables(rows: Sequence[MetricRow], **options: Any) -> list[Table]:  # noqa: ANN401 - of metrics_table
    """Metrics over all samples, those of overlap apart where they are many, and means of those within classes."""
    within = [row for row in rows if row.metric.startswith("class-wise")]
    whole = [row for row in rows if row not in within]
    overlap: list[MetricRow] = []
    if len({row.metric for row in whole}) > _COLUMNS:
        overlap = [row for row in whole if row.metric in _OVERLAP]
        whole = [row for row in whole if row.metric not in _OVERLAP]
    tables = [metrics_table(whole, **options)] if whole else []
    tables += [metrics_table(overlap, "Overlap with real data", **options)] if overlap else []
    if within:
        table = metrics_table(within, "Within each class, averaged over the classes", **options)
        tables.append(replace(table, caption=_WITHIN + table.caption))
    return tables


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
