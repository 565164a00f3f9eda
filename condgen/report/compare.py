"""Several runs on one page.

Runs that differ in their seeds alone become one group with means and standard deviations. Its rows are those of one
run, with methods named "METHOD, GROUP", so that the tables and plots of single runs show them.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.estimates import MISSING, format_number
from condgen.report.figures import class_style, curve_panel
from condgen.report.findings import advise, best_in_words
from condgen.report.load import Run, read_run
from condgen.report.page import Block, Code, Figure, Page, Prose, Section, Table, write_page
from condgen.report.rows import CostRow, ErrorRow, MetricRow, Row, error_estimates, is_real
from condgen.report.samples import samples_blocks
from condgen.report.score_errors import QUANTITIES, error_panel
from condgen.report.tables import WEIGHTINGS, cost_table, errors_table, metrics_tables
from condgen.runs.layout import RUN_FILE, STAGE_FILE

__all__ = ["compare_runs"]

_SEEDS = ("seed", "sample.seed", "diagnose.seed")  # in which runs of one group may differ
_UNFOLDED, _ROWS = 2, 20  # tables of samples and rows of settings that are not folded
_R = TypeVar("_R", bound=Row)


class _Group(NamedTuple):
    """A run, or several of one recipe with other seeds."""

    label: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]


def compare_runs(folders: Sequence[Path], out: Path) -> Path:
    """Writes a page that compares runs, with Markdown and JSON, into a folder; returns the path of the HTML.

    Raises:
        UserError: a folder that is no run's, or is named twice, or a run in the place of the page.
    """
    if any((out / name).exists() for name in (RUN_FILE, STAGE_FILE)):
        raise UserError(f"{out} is the folder of a run, which has a report of its own: choose another one with --out")
    with blamed_on(" or ".join(map(str, folders))):
        runs = _read(folders)
        groups = _group(runs)
        metrics: list[MetricRow] = _merged(groups, "metrics", ("metric",), ("value",))
        errors: list[ErrorRow] = _merged(groups, "errors", ("sigma", "weighting", "quantity"), ("mean",))
        speed = ("evaluations_per_image", "images_per_second", "seconds")
        cost: list[CostRow] = _merged(groups, "cost", (), speed)
        commands = [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
        commands.append(f"condgen report {' '.join(map(str, folders))} --out {out}")
        sections = (
            Section("run", "What was compared", _runs_blocks(runs, groups)),
            Section("metrics", "Sample quality", tuple(metrics_tables(metrics))),
            Section("errors", "Score errors", tuple(_errors_blocks(groups, errors))),
            Section("samples", "Samples", tuple(_samples_blocks(runs))),
            Section("cost", "Cost", (cost_table(cost),) if cost else ()),
            Section("training", "Training", tuple(_training_blocks(runs))),
            Section("reproduce", "How to reproduce", (Code("Commands", "\n".join(commands)),)),
        )
        shown = tuple(section for section in sections if section.blocks)
        sentences = (*_differences(runs, groups), *best_in_words(metrics))
        page = Page(f"{len(runs)} runs compared", advise(metrics, cost), sentences, shown)
        data = {
            "runs": {label: {"folder": str(run.folder), "about": run.about} for label, run in runs.items()},
            "groups": [{"label": group.label, "runs": len(group.runs), "seeds": group.seeds} for group in groups],
            "settings": _differing_settings(runs),
            "rows": {"metrics": metrics, "diagnostics": errors, "cost": cost},
        }
    out.mkdir(parents=True, exist_ok=True)
    return write_page(out, page, data)


def _read(folders: Sequence[Path]) -> dict[str, Run]:
    """Runs by the names of their folders, with as much of the path as tells them apart."""
    places = [folder.resolve() for folder in folders]
    repeated = next((place for place in places if places.count(place) > 1), None)
    if repeated is not None:
        raise UserError(f"{repeated} is named twice: name each run once")
    runs = {}
    for folder, place in zip(folders, places, strict=True):
        run = read_run(folder)
        if not (run.metrics or run.errors or run.cost or run.samples or run.losses):
            raise UserError(f"{folder} holds nothing to compare; run a recipe into it first (condgen run RECIPE)")
        ends = (place.parts[-depth:] for depth in range(1, len(place.parts) + 1))
        runs["/".join(next(end for end in ends if sum(p.parts[-len(end) :] == end for p in places) == 1))] = run
    return runs


def _group(runs: Mapping[str, Run]) -> list[_Group]:
    """Runs that differ in nothing but seeds, together; the others alone."""
    alike: dict[str, list[str]] = {}
    for label, run in runs.items():
        settings = {key: value for key, value in _settings(run).items() if key not in _SEEDS}
        alike.setdefault(str(sorted(settings.items())) if run.settings else label, []).append(label)
    groups: list[_Group] = []
    for labels in alike.values():
        seeds = tuple(runs[label].settings.get("seed", 0) for label in labels)
        if len(labels) > 1 and len(set(seeds)) == len(seeds):
            name = f"{runs[labels[0]].name}, {len(seeds)} seeds"
            name += f" ({labels[0]})" if any(group.label == name for group in groups) else ""
            groups.append(_Group(name, tuple(runs[label] for label in labels), seeds))
        else:
            groups += [_Group(label, (runs[label],), (seed,)) for label, seed in zip(labels, seeds, strict=True)]
    return groups


def _settings(run: Run) -> dict[str, str]:
    """Every setting but the name as text, by dotted key."""

    def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
        for key, value in tree.items():
            if isinstance(value, dict) and value:
                yield from flat(value, f"{prefix}{key}.")
            else:
                text = yaml.safe_dump(value, default_flow_style=True).split("\n...")[0].strip()
                yield f"{prefix}{key}", value if isinstance(value, str) else text

    return {key: value for key, value in flat(run.settings) if key != "name"}


def _differing_settings(runs: Mapping[str, Run]) -> dict[str, list[str | None]]:
    """Settings that are not the same in all runs: by dotted key, one value a run, None where it has none."""
    found = [_settings(run) for run in runs.values()]
    keys = dict.fromkeys(key for one in found for key in one)
    return {key: values for key in keys if len(set(values := [one.get(key) for one in found])) > 1}


def _named(method: str, group: _Group) -> str:
    return f"{method}, {group.label}"


def _merged(groups: Sequence[_Group], rows: str, key: Sequence[str], numbers: Sequence[str]) -> list[Any]:
    """The rows of every group, by method and then by group, with means over seeds and an interval of ± sd.

    Args:
        groups: whose rows are merged.
        rows: the attribute of a run that holds them.
        key: the fields that, with the method, tell rows of one run apart.
        numbers: the fields to average; the interval is that of the first.
    """
    found: dict[tuple[object, ...], dict[str, Row]] = {}
    for group in groups:
        same: dict[tuple[object, ...], list[Row]] = {}
        for row in (row for run in group.runs for row in getattr(run, rows)):
            same.setdefault(tuple(getattr(row, name) for name in ("method", *key)), []).append(row)
        for place, own in same.items():
            found.setdefault(place, {})[group.label] = _mean(own, numbers)
    out = []
    for (method, *_), by_group in sorted(found.items(), key=lambda item: is_real(str(item[0][0]))):
        values = {getattr(row, numbers[0]) for row in by_group.values()}
        for label, row in by_group.items():
            name = f"{method}, {label}"
            if is_real(str(method)) and len(values) == 1:  # the same data in all
                name = str(method)
            out.append(row.model_copy(update={"method": name}))
            if name == method:
                break
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


def _differences(runs: Mapping[str, Run], groups: Sequence[_Group]) -> Iterable[str]:
    """What was repeated, and which settings differ."""
    for group in groups:
        if len(group.runs) > 1:
            yield f"{group.label}: one recipe with seeds {', '.join(map(str, group.seeds))}; figures are mean ± sd."
    differing = [name for name in _differing_settings(runs) if name != "seed"]
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        yield f"The runs differ in {len(differing)} setting{'s' if len(differing) > 1 else ''}: {shown}."
    elif len(groups) == len(runs):
        yield "The recipes of the runs have the same settings."


def _runs_blocks(runs: Mapping[str, Run], groups: Sequence[_Group]) -> tuple[Block, ...]:
    labels = {id(run): group.label for group in groups for run in group.runs}
    rows = []
    for label, run in runs.items():
        seconds = sum(stage.seconds or 0.0 for stage in run.stages)
        started = str(run.about.get("started", MISSING)).replace("T", " ", 1)
        version = str(run.about.get("condgen", MISSING))
        rows.append((label, run.name, labels[id(run)], started, version, format_number(seconds or None)))
    head = ("run", "recipe", "shown as", "started", "condgen", "seconds in all")
    found = _differing_settings(runs).items()
    settings = tuple((key, *(MISSING if value is None else value for value in values)) for key, values in found)
    caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
    words = frozenset(range(1, len(runs) + 1))
    return (
        Table("The runs", head, tuple(rows), words=frozenset({1, 2, 3, 4})),
        Table("Settings that differ", ("setting", *runs), settings, caption, words=words, folded=len(settings) > _ROWS)
        if settings
        else Prose("No setting of their recipes differs."),
    )


def _errors_blocks(groups: Sequence[_Group], rows: Sequence[ErrorRow]) -> Iterable[Block]:
    """A panel for each method and quantity, with a line for each group."""
    styles = {group.label: class_style(place) for place, group in enumerate(groups)}
    methods = dict.fromkeys(row.method for group in groups for run in group.runs for row in run.errors)
    for weighting, words in WEIGHTINGS.items():
        for quantity, meaning in QUANTITIES.items():
            found = error_estimates(rows, weighting, quantity)
            panels = []
            for method in methods:
                lines = {g.label: found[_named(method, g)] for g in groups if _named(method, g) in found}
                if any(len(levels) > 1 for levels in lines.values()):
                    panels.append(error_panel(lines, quantity, styles, f"{quantity}: {method}"))
            if not found:
                continue
            table = errors_table(rows, weighting, quantity)
            caption = f"The mean error of the {meaning} against the noise level. Bars are the intervals of the table."
            drawn = tuple(filter(None, panels))
            yield Figure(f"{quantity}, {words}", drawn, caption, styles, (table,)) if drawn else table


def _samples_blocks(runs: Mapping[str, Run]) -> list[Block]:
    """Samples of every method that more than one run has, with a column or panel for each run."""
    blocks: list[Block] = []
    for method in dict.fromkeys(method for run in runs.values() for method in run.samples):
        sources = {label: (run, method) for label, run in runs.items() if method in run.samples}
        if len(sources) > 1:
            blocks += samples_blocks(sources, method, folded=len(blocks) >= _UNFOLDED)
    return blocks


def _training_blocks(runs: Mapping[str, Run]) -> Iterable[Block]:
    """A panel for every stage that more than one run trained, with a line for each run."""
    styles = {label: class_style(place) for place, label in enumerate(runs)}
    stages = dict.fromkeys(stage for run in runs.values() for stage in run.losses)
    lines = {s: {label: run.losses[s] for label, run in runs.items() if s in run.losses} for s in stages}
    panels = tuple(curve_panel(stage, found, styles) for stage, found in lines.items() if len(found) > 1)
    if panels:
        caption = "Lines are means over equal stretches of the log. Losses of different objectives cannot be compared."
        yield Figure("Loss against step", panels, caption, styles)
