"""Several runs on one page.

Runs that differ in their seeds alone become one group with means and standard deviations. Its rows are those of one
run, with methods named "METHOD, GROUP", so that the tables and plots of single runs show them.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from condgen.diagnostics.score_errors import ErrorRow
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.metrics import MetricRow
from condgen.report.estimates import MISSING, format_number
from condgen.report.figures import class_style, curve_panel
from condgen.report.findings import advise
from condgen.report.load import Run, read_run
from condgen.report.page import Block, Code, Figure, Prose, Table, write_page
from condgen.report.rows import CostRow, error_estimates, is_real
from condgen.report.samples import samples_blocks
from condgen.report.score_errors import QUANTITIES, error_panel
from condgen.report.tables import WEIGHTINGS, cost_table, errors_table, metrics_tables
from condgen.rows import Row
from condgen.runs.layout import RUN_FILE, STAGE_FILE

_SEEDS = ("seed", "sample.seed", "diagnose.seed")  # in which runs of one group may differ
_UNFOLDED, _ROWS = 2, 20  # tables of samples and rows of settings that are not folded
_R = TypeVar("_R", bound=Row)
_Groups: TypeAlias = Mapping[str, Sequence[Run]]
"""Runs by label: one, or several of one recipe with other seeds."""


def compare_runs(folders: Sequence[Path], out: Path) -> Path:
    """Writes a page that compares runs, with Markdown and JSON, into a folder; returns the path of the HTML.

    Raises:
        UserError: a folder that is no run's, or is named twice, or a run in the place of the page.
    """
    if any((out / name).exists() for name in (RUN_FILE, STAGE_FILE)):
        raise UserError(f"{out} is the folder of a run, which has a report of its own: choose another one with --out")
    with blamed_on(" or ".join(map(str, folders))):
        runs = _read(folders)
        groups, settings = _group(runs), _differing_settings(runs)
        metrics: list[MetricRow] = _merged(groups, "metrics", ("metric",), ("value",))
        errors: list[ErrorRow] = _merged(groups, "errors", ("sigma", "weighting", "quantity"), ("mean",))
        speed = ("evaluations_per_image", "images_per_second", "seconds")
        cost: list[CostRow] = _merged(groups, "cost", (), speed)
        commands = [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
        commands.append(f"condgen report {' '.join(map(str, folders))} --out {out}")
        sections = {
            "What was compared": _runs_section(runs, groups, settings),
            "Sample quality": metrics_tables(metrics),
            "Score errors": _errors_section(groups, errors),
            "Samples": _samples_section(runs),
            "Cost": [cost_table(cost)] if cost else [],
            "Training": _training_section(runs),
            "How to reproduce": [Code("Commands", "\n".join(commands))],
        }
        data = {
            "runs": {label: {"folder": str(run.folder), "about": run.about} for label, run in runs.items()},
            "groups": [{"label": label, "runs": len(own), "seeds": _seeds(own)} for label, own in groups.items()],
            "settings": settings,
            "rows": {"metrics": metrics, "diagnostics": errors, "cost": cost},
        }
        sentences = list(_differences(groups, settings))
        return write_page(out, f"{len(runs)} runs compared", advise(metrics, cost), sentences, sections, data)


def _read(folders: Sequence[Path]) -> dict[str, Run]:
    """Runs by the names of their folders, or by their paths where names are equal."""
    places = [folder.resolve() for folder in folders]
    names = [place.name for place in places]
    runs = {}
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{place} is named twice: name each run once")
        run = read_run(folder)
        if not (run.metrics or run.errors or run.cost or run.samples or run.losses):
            raise UserError(f"{folder} holds nothing to compare; run a recipe into it first (condgen run RECIPE)")
        runs[place.name if names.count(place.name) == 1 else str(folder)] = run
    return runs


# ----------------------------------------------------------------------------------------------------
# Groups of runs


def _group(runs: Mapping[str, Run]) -> dict[str, list[Run]]:
    """Runs that differ in nothing but seeds, together; the others alone."""
    alike: dict[str, list[str]] = {}
    for label, run in runs.items():
        settings = {key: value for key, value in _settings(run).items() if key not in _SEEDS}
        alike.setdefault(str(sorted(settings.items())) if run.settings else label, []).append(label)
    groups: dict[str, list[Run]] = {}
    for labels in alike.values():
        own = [runs[label] for label in labels]
        if len(own) > 1 and len(set(_seeds(own))) == len(own):
            groups[f"{own[0].name}, {len(own)} seeds ({labels[0]}, ...)"] = own
        else:
            groups |= {label: [runs[label]] for label in labels}
    return groups


def _seeds(runs: Sequence[Run]) -> list[Any]:
    return [run.settings.get("seed", 0) for run in runs]


def _settings(run: Run) -> dict[str, str]:
    """Every setting but the name as text, by dotted key."""

    def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
        for key, value in tree.items():
            if isinstance(value, dict) and value:
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

    return {key: value for key, value in flat(run.settings) if key != "name"}


def _differing_settings(runs: Mapping[str, Run]) -> dict[str, list[str | None]]:
    """Settings that are not the same in all runs: by dotted key, one value a run, None where it has none."""
    found = [_settings(run) for run in runs.values()]
    keys = dict.fromkeys(key for one in found for key in one)
    return {key: values for key in keys if len(set(values := [one.get(key) for one in found])) > 1}


def _named(method: str, label: str) -> str:
    return f"{method}, {label}"


def _merged(groups: _Groups, rows: str, key: Sequence[str], numbers: Sequence[str]) -> list[Any]:
    """The rows of every group, by method and then by group, with means over seeds and an interval of ± sd.

    Args:
        groups: whose rows are merged.
        rows: the attribute of a run that holds them.
        key: the fields that, with the method, tell rows of one run apart.
        numbers: the fields to average; the interval is that of the first.
    """
    found: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for label, runs in groups.items():
        for row in (row for run in runs for row in getattr(run, rows)):
            place = tuple(getattr(row, name) for name in ("method", *key))
            found.setdefault(place, {}).setdefault(label, []).append(row)
    out: list[Row] = []
    for (method, *_), by_group in sorted(found.items(), key=lambda item: is_real(item[0][0])):
        means = {_named(method, label): _mean(own, numbers) for label, own in by_group.items()}
        if is_real(method) and len({getattr(row, numbers[0]) for row in means.values()}) == 1:
            means = {method: next(iter(means.values()))}  # the same data in all
        out += [row.model_copy(update={"method": name}) for name, row in means.items()]
    return out


def _mean(rows: Sequence[_R], numbers: Sequence[str]) -> _R:
    if len(rows) == 1:
        return rows[0]
    changes: dict[str, object] = {}
    for name in numbers:
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        if values:
            changes[name] = mean = statistics.fmean(values)
            if name == numbers[0] and "low" in type(rows[0]).model_fields and len(values) > 1:
                deviation = statistics.stdev(values)
                deviation = 0.0 if deviation < 1e-9 * abs(mean) else deviation  # rounding
                changes |= {"low": mean - deviation, "high": mean + deviation, "seeds": len(values), "seed": None}
    return rows[0].model_copy(update=changes)


# ----------------------------------------------------------------------------------------------------
# The page


def _differences(groups: _Groups, settings: Mapping[str, object]) -> Iterable[str]:
    """What was repeated, and which settings differ."""
    for label, runs in groups.items():
        if len(runs) > 1:
            yield f"{label}: one recipe with seeds {', '.join(map(str, _seeds(runs)))}; figures are mean ± sd."
    differing = [name for name in settings if name != "seed"]
    if differing:
        shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
        yield f"Settings that differ: {shown}."
    elif all(len(runs) == 1 for runs in groups.values()):
        yield "The recipes of the runs have the same settings."


def _runs_section(
    runs: Mapping[str, Run], groups: _Groups, settings: Mapping[str, list[str | None]]
) -> Iterable[Block]:
    labels = {id(run): label for label, own in groups.items() for run in own}
    rows = []
    for label, run in runs.items():
        seconds = format_number(sum(stage.seconds or 0.0 for stage in run.stages) or None)
        about = [str(run.about.get(key, MISSING)) for key in ("started", "condgen")]
        rows.append((label, run.name, labels[id(run)], *about, seconds))
    head = ("run", "recipe", "shown as", "started", "condgen", "seconds in all")
    yield Table("The runs", head, tuple(rows))
    if settings:
        cells = tuple(
            (key, *(MISSING if value is None else value for value in values)) for key, values in settings.items()
        )
        caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
        yield Table("Settings that differ", ("setting", *runs), cells, caption, folded=len(settings) > _ROWS)
    else:
        yield Prose("No setting of their recipes differs.")


def _errors_section(groups: _Groups, rows: Sequence[ErrorRow]) -> Iterable[Block]:
    """A panel for each method and quantity, with a line for each group."""
    styles = {label: class_style(place) for place, label in enumerate(groups)}
    methods = dict.fromkeys(row.method for runs in groups.values() for run in runs for row in run.errors)
    for weighting, described in WEIGHTINGS.items():
        for quantity, meaning in QUANTITIES.items():
            found = error_estimates(rows, weighting, quantity)
            if not found:
                continue
            panels = []
            for method in methods:
                lines = {label: found[name] for label in groups if (name := _named(method, label)) in found}
                if any(len(levels) > 1 for levels in lines.values()):
                    panels.append(error_panel(lines, quantity, styles, f"{quantity}: {method}"))
            table = errors_table(rows, weighting, quantity)
            caption = f"The mean error of the {meaning} against the noise level. Bands are the intervals of the table."
            drawn = tuple(filter(None, panels))
            yield Figure(f"{quantity}, {described}", drawn, caption, styles, (table,)) if drawn else table


def _samples_section(runs: Mapping[str, Run]) -> Iterable[Block]:
    """Samples of every method that more than one run has, with a column or panel for each run."""
    shown = 0
    for method in dict.fromkeys(method for run in runs.values() for method in run.samples):
        sources = {label: (run, method) for label, run in runs.items() if method in run.samples}
        if len(sources) > 1:
            yield from samples_blocks(sources, method, folded=shown >= _UNFOLDED)
            shown += 1


def _training_section(runs: Mapping[str, Run]) -> Iterable[Block]:
    """A panel for every stage that more than one run trained, with a line for each run."""
    styles = {label: class_style(place) for place, label in enumerate(runs)}
    stages = dict.fromkeys(stage for run in runs.values() for stage in run.losses)
    lines = {s: {label: run.losses[s] for label, run in runs.items() if s in run.losses} for s in stages}
    panels = tuple(curve_panel(stage, found, styles) for stage, found in lines.items() if len(found) > 1)
    if panels:
        caption = "Lines are means over equal stretches of the log. Losses of different objectives cannot be compared."
        yield Figure("Loss against step", panels, caption, styles)
