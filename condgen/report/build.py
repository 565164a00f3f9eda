"""From a run folder to its report."""

from collections.abc import Iterable
from pathlib import Path

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.classifiers import classifiers_section
from condgen.report.figures import class_style, curve_panel
from condgen.report.findings import advise, findings
from condgen.report.generators import generators_section
from condgen.report.held_out import held_out_section, held_out_sentences, held_out_tables, training_of
from condgen.report.load import LOSSES, Run, read_run
from condgen.report.page import Block, Code, Figure, Prose, Table, facts_table, write_page
from condgen.report.samples import neighbours_section, samples_section
from condgen.report.score_errors import QUANTITIES, errors_section, fields_section
from condgen.report.tables import (
    class_tables,
    cost_table,
    errors_table,
    metrics_table,
    metrics_tables,
    stages_table,
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
        return write_page(folder, run.name, sentences(run), sections(run), data_of(run))


def sentences(run: Run) -> list[str]:
    """What the figures say, the most important first."""
    advice = advise(run.metrics, run.cost, run.collapsed_methods)
    return [*held_out_sentences(run), *([advice] if advice else []), *findings(run)]


def sections(run: Run) -> dict[str, Iterable[Block]]:
    """The blocks of a page by the titles of their sections; of a run that lacks something, some have none."""
    of_images = any(row.weighting == "held_out" for row in run.errors)
    return {
        "Nearer to the truth": held_out_section(run),
        "What was run": _run_section(run),
        "Samples": samples_section(run),
        "Distance from the memorised optimum" if of_images else "Score errors": errors_section(run),
        "Likelihood-score fields": fields_section(run),
        "Classifiers by noise level": classifiers_section(run),
        "One-step generators": generators_section(run),
        "Sample quality": [*metrics_tables(run.metrics), *class_tables(run.by_class)],
        "Nearest neighbours": neighbours_section(run),
        "Cost": [cost_table(run.cost)] if run.cost else [],
        "Training": _training_section(run),
        "Conditions of the figures": [
            block for file, facts in run.conditions.items() for block in facts_table(file, facts)
        ],
        "How to reproduce": _reproduce_section(run),
    }


def summary_tables(run: Run) -> list[Table]:
    """What a terminal shows after a run: held-out differences, metrics, cost and score errors."""
    tables = list(held_out_tables(run.held_out, training_of(run)))
    tables += [metrics_table(run.metrics)] if run.metrics else []
    tables += [cost_table(run.cost)] if run.cost else []
    tables += [errors_table(run.errors, "data", quantity) for quantity in QUANTITIES]
    return [table for table in tables if table.rows]


def data_of(run: Run) -> dict[str, object]:
    """What the JSON of a page holds."""
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


def _run_section(run: Run) -> Iterable[Block]:
    about, data = run.about, run.settings.get("data")
    if about:
        facts = {
            "data": data.get("kind") if isinstance(data, dict) else None,
            "seed": run.settings.get("seed"),
            "started": about.get("started"),
            "versions": {key: about[key] for key in ("condgen", "python", "torch") if key in about} or None,
            "machine": about.get("machine"),
        }
        yield from facts_table("The run", facts, folded=False)
    if run.stages:
        yield stages_table(run.stages)


def _training_section(run: Run) -> Iterable[Block]:
    styles = {name: class_style(place) for place, name in enumerate(LOSSES)}
    panels = tuple(curve_panel(stage, losses, styles) for stage, losses in run.losses.items())
    caption = (
        "Lines are means over equal stretches of the log, the band of a single one their extremes. Losses of different "
        "objectives cannot be compared with each other. Of generators: a loss that falls to the critic's on real data, "
        "or a denoiser's much lower loss on generated data (fake_dsm) than on real data, is a collapse where the "
        "in-class std ratio falls too; the likelihood can fall to zero with a single sample a class."
    )
    if panels:
        shown = {name: style for name, style in styles.items() if any(name in own for own in run.losses.values())}
        yield Figure("Losses against step", panels, caption, shown)


def _reproduce_section(run: Run) -> Iterable[Block]:
    command, version = run.about.get("command"), run.about.get("condgen")
    if command:
        yield Prose(f"The same command, recipe and seed with condgen {version} give the same run, but for timings.")
        yield Code("Command", str(command))
    if run.recipe:
        yield Code("Recipe, with every setting resolved", run.recipe.rstrip(), folded=True)
