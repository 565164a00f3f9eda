"""Several runs on one page: settings that differ, figures, score errors, samples and training beside each other."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from condgen import __version__
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.metrics import REAL
from condgen.report.advice import advise
from condgen.report.comparison_tables import (
    cost_by_run,
    errors_by_run,
    methods_of,
    metrics_by_run,
    runs_table,
    settings_table,
    spread_in_words,
)
from condgen.report.drawing import Style, class_style
from condgen.report.estimates import Estimate
from condgen.report.findings import best_in_words
from condgen.report.inputs import Run
from condgen.report.page import Block, Code, Page, Panels, Prose, Section, TableBlock
from condgen.report.pictures import Sample
from condgen.report.plots import curves_panel, key
from condgen.report.rows import Quantity, Weighting
from condgen.report.runs import Group, differing_settings, group_runs, read_runs
from condgen.report.sections import sample_points, sample_strips
from condgen.report.training_plots import overlaid_losses
from condgen.report.writing import write_page
from condgen.runs.layout import RUN_FILE, STAGE_FILE

__all__ = ["compare_runs"]

_QUANTITIES: dict[Quantity, str] = {"D": "unconditional score", "D_P": "posterior score", "D_L": "likelihood score"}
_WEIGHTINGS: dict[Weighting, str] = {"data": "weighted by the data", "grid": "uniform over the grid"}
_IMAGES = 4  # of a class, by a method in a run
_UNFOLDED = 2  # methods whose samples need no click


def compare_runs(folders: Sequence[Path], out: Path) -> Path:
    """Writes a page that compares runs, with Markdown and JSON beside it.

    Args:
        folders: of the runs, two or more.
        out: the folder of the page, which must not be that of a run.

    Returns:
        The path of the page.

    Raises:
        UserError: a folder that is no run's, or is named twice, or a run in the place of the page.
    """
    runs = read_runs(folders)
    if any((out / name).exists() for name in (RUN_FILE, STAGE_FILE)):
        raise UserError(f"{out} is the folder of a run, which has a report of its own: choose another one with --out")
    with blamed_on(" or ".join(map(str, folders))):
        groups = group_runs(runs)
        page = _page(runs, groups, folders, out)
    out.mkdir(parents=True, exist_ok=True)
    return write_page(out, page, _facts(page, runs, groups))


def _page(runs: Mapping[str, Run], groups: Sequence[Group], folders: Sequence[Path], out: Path) -> Page:
    styles = {group.label: class_style(place) for place, group in enumerate(groups)}
    sections = (
        _runs(runs, groups),
        _metrics(groups),
        _errors(groups, styles),
        _samples(runs),
        _cost(groups),
        _training(runs),
        _reproduce(runs, folders, out),
    )
    return Page(
        name=f"{len(runs)} runs compared",
        findings=tuple(_findings(runs, groups)),
        sections=tuple(section for section in sections if section is not None),
        version=__version__,
        lead=_advice(groups),
    )


def _findings(runs: Mapping[str, Run], groups: Sequence[Group]) -> list[str]:
    said = [
        f"{group.label}: one recipe with seeds {', '.join(map(str, group.seeds))}; its figures are mean ± standard "
        "deviation over them."
        for group in groups
        if group.repeated
    ]
    differing = [name for name in differing_settings(runs) if name != "seed"]
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        said.append(f"The runs differ in {len(differing)} setting{'s' if len(differing) > 1 else ''}: {shown}.")
    elif not any(group.repeated for group in groups):
        said.append("The recipes of the runs have the same settings.")
    found = _by_metric(groups)
    leading = [metric for metric in found if re.match(r"class accuracy|(class-wise )?FI?D\b", metric)]
    said += [best_in_words(metric, found[metric]) for metric in leading]
    return [sentence for sentence in said if sentence]


def _by_metric(groups: Sequence[Group]) -> dict[str, dict[str, Estimate]]:
    """Figures by metric, and by what they are of in words."""
    found: dict[str, dict[str, Estimate]] = {}
    for method in methods_of(groups):
        for group in groups:
            for metric, estimate in group.metrics(method).items():
                found.setdefault(metric, {})[_named(method, group, groups)] = estimate
    return found


def _named(method: str, group: Group, groups: Sequence[Group]) -> str:
    return method if len(groups) == 1 else f"{method} of {group.label}"


def _advice(groups: Sequence[Group]) -> str:
    """Which method of which run to use."""
    metrics = [
        {"method": name, "metric": metric} | _ends(estimate)
        for metric, found in _by_metric(groups).items()
        for name, estimate in found.items()
    ]
    cost = [
        {"method": _named(method, group, groups), "evaluations_per_image": found["evaluations_per_image"].value}
        for group in groups
        for method, found in group.cost().items()
        if "evaluations_per_image" in found
    ]
    return advise(metrics, cost)


# ----------------------------------------------------------------------------------------------------
# Sections


def _runs(runs: Mapping[str, Run], groups: Sequence[Group]) -> Section:
    settings = settings_table(runs)
    blocks: list[Block] = [TableBlock(runs_table(runs, groups))]
    blocks.append(TableBlock(settings) if settings else Prose("No setting of their recipes differs."))
    return Section("run", "What was compared", tuple(blocks))


def _metrics(groups: Sequence[Group]) -> Section | None:
    table = metrics_by_run(groups)
    return Section("metrics", "Sample quality", (TableBlock(table),)) if table else None


def _errors(groups: Sequence[Group], styles: Mapping[str, Style]) -> Section | None:
    """A panel a method and quantity, with a line a run."""
    blocks: list[Block] = []
    for weighting, words in _WEIGHTINGS.items():
        for quantity, meaning in _QUANTITIES.items():
            found = {group.label: group.errors(weighting, quantity) for group in groups}
            methods = list(dict.fromkeys(method for errors in found.values() for method in errors))
            plots = []
            for place, method in enumerate(methods):
                lines = {label: errors[method] for label, errors in found.items() if method in errors}
                name = f"errors-{weighting}-{quantity.lower()}-{place}"
                plots.append(curves_panel(lines, quantity, f"{quantity}: {method}", styles, name, bars=1.0))
            table = errors_by_run(groups, weighting, quantity)
            drawn = tuple(plot for plot in plots if plot is not None)
            if not drawn or table is None:
                continue
            legend = tuple(
                (key(styles[label], f"errors-{weighting}-{quantity.lower()}-key-{place}"), label)
                for place, label in enumerate(found)
                if found[label]
            )
            spread = spread_in_words(groups, "two standard errors over queries")
            caption = f"The mean error of the {meaning} against the noise level, a panel a method. Bars: {spread}"
            blocks.append(Panels(f"{quantity}, {words}", drawn, caption, legend, (table,)))
    return Section("errors", "Score errors", tuple(blocks)) if blocks else None


def _samples(runs: Mapping[str, Run]) -> Section | None:
    """Samples of every method that more than one run has, a column or a panel a run."""
    blocks: list[Block] = []
    methods = list(dict.fromkeys(method for run in runs.values() for method in run.samples))
    for method in methods:
        drawn: dict[str, Sequence[Sample]] = {
            label: run.samples[method] for label, run in runs.items() if method in run.samples
        }
        if len(drawn) < 2:
            continue
        images = {label: found for label, samples in drawn.items() if (found := [s for s in samples if s.file])}
        points = {label: found for label, samples in drawn.items() if (found := [s for s in samples if s.point])}
        if images:
            blocks.append(sample_strips(images, method, "run", _IMAGES, folded=len(blocks) >= _UNFOLDED))
        if points:
            blocks.append(sample_points(points, None, method, f"points-{len(blocks)}"))
    return Section("samples", "Samples", tuple(blocks)) if blocks else None


def _cost(groups: Sequence[Group]) -> Section | None:
    table = cost_by_run(groups)
    return Section("cost", "Cost", (TableBlock(table),)) if table else None


def _training(runs: Mapping[str, Run]) -> Section | None:
    """A panel for every stage that more than one run trained, with a line a run."""
    styles = {label: class_style(place) for place, label in enumerate(runs)}
    stages = dict.fromkeys(stage for run in runs.values() for stage in run.losses)
    shared = {s: {label: run.losses[s] for label, run in runs.items() if s in run.losses} for s in stages}
    shared = {stage: lines for stage, lines in shared.items() if len(lines) > 1}
    if not shared:
        return None
    plots = [overlaid_losses(lines, styles, s, f"training-{place}") for place, (s, lines) in enumerate(shared.items())]
    shown = [label for label in runs if any(label in lines for lines in shared.values())]
    legend = tuple((key(styles[label], f"training-key-{place}"), label) for place, label in enumerate(shown))
    caption = "Lines are means over equal stretches of the log. Losses of different objectives, or of classifiers on "
    caption += "different data, cannot be compared with each other."
    return Section("training", "Training", (Panels("Loss against step", tuple(plots), caption, legend),))


def _reproduce(runs: Mapping[str, Run], folders: Sequence[Path], out: Path) -> Section:
    commands = [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
    commands.append(f"condgen report {' '.join(map(str, folders))} --out {out}")
    return Section("reproduce", "How to reproduce", (Code("Commands", "\n".join(commands)),))


# ----------------------------------------------------------------------------------------------------


def _facts(page: Page, runs: Mapping[str, Run], groups: Sequence[Group]) -> dict[str, object]:
    """The figures as rows: one a run or group of seeds, method and metric or noise level."""
    metrics, errors, cost = [], [], []
    for group in groups:
        about = {"run": group.label, "runs": len(group.runs)}
        for method in (*methods_of(groups), REAL):
            for metric, estimate in group.metrics(method).items():
                metrics.append(about | {"method": method, "metric": metric} | _ends(estimate))
        for weighting in _WEIGHTINGS:
            for quantity in _QUANTITIES:
                for method, levels in group.errors(weighting, quantity).items():
                    row = about | {"method": method, "weighting": weighting, "quantity": quantity}
                    errors += [row | {"sigma": sigma} | _ends(estimate) for sigma, estimate in levels.items()]
        for method, found in group.cost().items():
            cost += [about | {"method": method, "what": what} | _ends(value) for what, value in found.items()]
    return {
        "name": page.name,
        "condgen": page.version,
        "advice": page.lead,
        "findings": page.findings,
        "runs": {label: {"folder": str(run.folder), "run": run.about} for label, run in runs.items()},
        "groups": [{"label": group.label, "runs": len(group.runs), "seeds": group.seeds} for group in groups],
        "settings": differing_settings(runs),
        "rows": {"metrics": metrics, "diagnostics": errors, "cost": cost},
    }


def _ends(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
