"""From a run folder to its report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.metrics.measures import REAL, MetricRow, goal_of
from condgen.report.estimates import beats, format_estimate, format_number, is_real, metric_estimates
from condgen.report.figures import curve_panel, method_styles
from condgen.report.load import LOSSES, CostRow, Run, read_run
from condgen.report.models import classifiers_section, generators_section
from condgen.report.page import Block, Code, Figure, Table, write_page
from condgen.report.quality import against_scale, confusions
from condgen.report.samples import neighbours_section, samples_blocks
from condgen.report.score_errors import (
    errors_section,
    fields_section,
    held_out_section,
    held_out_sentences,
    held_out_tables,
    pixels_section,
)
from condgen.report.tables import class_tables, cost_table, errors_tables, is_comparable, metrics_table, metrics_tables

_LOSSES_CAPTION = (
    "Lines are means over equal stretches of the log, the band of a single one their extremes. Losses of different "
    "objectives cannot be compared. A generator whose loss falls to the critic's on real data, or whose fake_dsm falls "
    "far below real_dsm, collapses where the in-class std ratio falls too."
)


def build_report(folder: Path) -> Path:
    """Writes `report.html`, `.md` and `.json`; returns the first. UserError where a folder is none or damaged."""
    with blamed_on(folder):
        run = read_reported(folder)
        return write_page(folder, run.name, sentences(run), sections(run), data_of(run))


def read_reported(folder: Path) -> Run:
    run = read_run(folder)
    if run.is_empty:
        raise UserError(f"{folder} holds nothing to report; run a recipe into it first (condgen run RECIPE)")
    return run


def sentences(run: Run) -> list[str]:
    last = {name: log.previews[-1] for name, log in run.generators.items()}
    return [
        *held_out_sentences(run),
        *_advice(run.metrics, run.cost),
        *(f"Beware of {name}: {one.warning()}." for name, one in last.items() if one.collapsed),
        *_memory(run.metrics),
    ]


def sections(run: Run) -> dict[str, Iterable[Block]]:
    of_images = any(row.weighting == "held_out" for row in run.errors)
    losses = [curve_panel(stage, curves, method_styles(LOSSES)) for stage, curves in run.losses.items()]
    return {
        "Nearer to the truth": held_out_section(run),
        "What was run": _run_section(run),
        "Samples": samples_blocks(run.samples, "Samples by class and method", run.fields),
        "Distance from the memorised optimum" if of_images else "Score errors": errors_section(run),
        "Likelihood-score fields": fields_section(run),
        "Where in the image": pixels_section(run),
        "Classifiers by noise level": classifiers_section(run),
        "One-step generators": generators_section(run),
        "Sample quality": [
            *metrics_tables(run.metrics),
            *against_scale(run),
            *class_tables(run.by_class),
            *confusions(run.by_class),
        ],
        "Nearest neighbours": neighbours_section(run),
        "Cost": [cost_table(run.cost)] if run.cost else [],
        "Training": [Figure("Losses against step", losses, _LOSSES_CAPTION)] if losses else [],
        "Conditions of the figures": [_facts(file, facts) for file, facts in run.conditions.items() if facts],
        "How to reproduce": _reproduce_section(run),
    }


def summary_tables(run: Run) -> list[Table]:
    """What a terminal shows after a run: held-out differences, metrics, cost and score errors."""
    errors = errors_tables(run.errors, "data")
    tables = [*held_out_tables(run.held_out), metrics_table(run.metrics), cost_table(run.cost), *errors]
    return [table for table in tables if table.rows]


def data_of(run: Run) -> dict[str, object]:
    rows: dict[str, object] = {
        "stages": run.stages,
        "diagnostics": [*run.held_out, *run.errors],
        "metrics": run.metrics,
        "by_class": run.by_class,
        "cost": run.cost,
        "classifiers": run.classifiers,
        "previews": {name: log.previews for name, log in run.generators.items()},
        "neighbours": run.neighbours,
    }
    return {"about": run.about, "conditions": run.conditions, "rows": rows, "recipe": run.recipe}


def _facts(title: str, facts: Mapping[str, Any], *, folded: bool = True) -> Code:
    return Code(title, yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=100).rstrip(), folded)


def _run_section(run: Run) -> Iterable[Block]:
    if run.about:
        about = {key: value for key, value in run.about.items() if key != "command"}
        settings = {key: run.settings[key] for key in ("seed", "data") if key in run.settings}
        yield _facts("The run", settings | about, folded=False)
    if run.stages:
        seconds = format_number(sum(stage.seconds or 0.0 for stage in run.stages))
        rows = [(stage.stage, stage.seconds, stage.what) for stage in run.stages]
        yield Table(f"Stages: {seconds} seconds in all", ("stage", "seconds", "what"), rows, folded=True)


def _reproduce_section(run: Run) -> Iterable[Block]:
    command, version = run.about.get("command"), run.about.get("condgen")
    if command:
        yield f"The same command, recipe and seed with condgen {version} give the same run, but for timings."
        yield Code("Command", str(command))
    if run.recipe:
        yield Code("Recipe, with every setting resolved", run.recipe.rstrip(), folded=True)


def _advice(metrics: Sequence[MetricRow], cost: Sequence[CostRow]) -> Iterable[str]:
    """Methods that none beats, in class accuracy and in one distance to real data; the cheapest first."""
    methods = [row for row in metrics if not is_real(row.method)]
    sure = [row for row in methods if row.low is not None and is_comparable(methods, row.metric)]
    found = metric_estimates(sure)
    distances = sorted((m for m in found if goal_of(m) == "low"), key=lambda m: not m.startswith("class-wise"))
    deciding = {metric: found[metric] for metric in ("class accuracy", *distances[:1]) if metric in found}
    rivals = [m for m in next(iter(deciding.values()), ()) if all(m in own for own in deciding.values())]
    pairs = [(m, own, rival) for m, own in deciding.items() for rival in rivals]
    best = [one for one in rivals if not any(beats(own[rival], own[one], goal_of(m)) for m, own, rival in pairs)]
    if best and len(rivals) > 1:
        evaluations = {row.method: row.evaluations_per_image for row in cost}
        best.sort(key=lambda method: evaluations.get(method) or math.inf)
        named = [f"{method} (evaluations a sample: {format_number(evaluations.get(method))})" for method in best]
        yield f"Use {' or '.join(named)}: in {' and '.join(deciding)} none is better by more than the intervals."


def _memory(metrics: Sequence[MetricRow]) -> Iterable[str]:
    """Methods whose share of authentic samples is clearly below that of held-out real data."""
    found = metric_estimates(metrics).get("authenticity", {})
    real = found.get(REAL)
    closer = [f"{method} {format_estimate(one)}" for method, one in found.items() if real and beats(real, one, "high")]
    if closer:
        authentic = f"{', '.join(closer)} authentic samples, against {format_estimate(real)} of held-out real data"
        yield f"A sign of memory, or of too little spread: {authentic}; see the nearest neighbours."
