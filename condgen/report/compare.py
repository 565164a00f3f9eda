"""Several runs on one page.

Runs that differ in their seeds alone become one group with means and standard deviations. Its rows are those of one
run, with methods named "METHOD, GROUP", so that the tables and plots of single runs show them.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.build import as_json, metrics_tables
from condgen.report.estimates import MISSING, format_number
from condgen.report.figures import class_style, curve_panel
from condgen.report.findings import LEADING, advise, best_in_words
from condgen.report.load import Run, read_run
from condgen.report.page import Block, Code, Figure, Page, Prose, Section, Table, write_page
from condgen.report.rows import CostRow, ErrorRow, MetricRow, error_estimates, is_real, metric_estimates
from condgen.report.samples import samples_blocks
from condgen.report.score_errors import QUANTITIES, error_panel
from condgen.report.tables import WEIGHTINGS, cost_table, errors_table
from condgen.runs.layout import RUN_FILE, STAGE_FILE

__all__ = ["compare_runs"]

_SEEDS = ("seed", "sample.seed", "diagnose.seed")  # in which runs of one group may differ
_UNFOLDED = 2  # tables of samples


@dataclass(frozen=True)
class _Group:
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
        metrics, errors, cost = _metrics(groups), _errors(groups), _cost(groups)
        spreads = [_spread(groups, "half the length of the interval"), _spread(groups, "two standard errors")]
        command = f"condgen report {' '.join(map(str, folders))} --out {out}"
        sections: tuple[Section, ...] = (
            Section("run", "What was compared", _runs_blocks(runs, groups)),
            Section("metrics", "Sample quality", tuple(metrics_tables(metrics, spread=spreads[0]))),
            Section("errors", "Score errors", tuple(_errors_blocks(groups, errors, spreads[1]))),
            Section("samples", "Samples", tuple(_samples_blocks(runs))),
            Section("cost", "Cost", (cost_table(cost),) if cost else ()),
            Section("training", "Training", tuple(_training_blocks(runs))),
            Section("reproduce", "How to reproduce", (Code("Commands", "\n".join([*_commands(runs), command])),)),
        )
        sections = tuple(section for section in sections if section.blocks)
        page = Page(
            f"{len(runs)} runs compared", advise(metrics, cost), tuple(_findings(runs, groups, metrics)), sections
        )
        data = {
            "runs": {label: {"folder": str(run.folder), "run": run.about} for label, run in runs.items()},
            "groups": [{"label": group.label, "runs": len(group.runs), "seeds": group.seeds} for group in groups],
            "settings": _differing_settings(runs),
            "rows": {"metrics": as_json(metrics), "diagnostics": as_json(errors), "cost": as_json(cost)},
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


# ----------------------------------------------------------------------------------------------------
# The rows of groups


def _named(method: str, group: _Group) -> str:
    return f"{method}, {group.label}"


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and standard deviation; rounding, where nothing depends on the seed, is no deviation."""
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return mean, 0.0 if deviation is not None and deviation < 1e-9 * abs(mean) else deviation


def _metrics(groups: Sequence[_Group]) -> list[MetricRow]:
    """Methods together, each in every group; real data once where all groups have the same."""
    found: dict[tuple[str, str], dict[str, MetricRow]] = {}
    for group in groups:
        rows: dict[tuple[str, str], list[MetricRow]] = {}
        for row in (row for run in group.runs for row in run.metrics if row.value is not None):
            rows.setdefault((row.method, row.metric), []).append(row)
        for key, same in rows.items():
            mean, deviation = _mean([row.value for row in same if row.value is not None])
            changes: dict[str, object] = {"value": mean}
            if deviation is not None:
                changes |= {"low": mean - deviation, "high": mean + deviation, "seed": None}
            found.setdefault(key, {})[group.label] = same[0].model_copy(update=changes)
    out = []
    for (method, _), by_group in sorted(found.items(), key=lambda item: is_real(item[0][0])):
        if is_real(method) and len({(row.value, row.n) for row in by_group.values()}) == 1:
            out.append(next(iter(by_group.values())))
        else:
            out += [row.model_copy(update={"method": f"{method}, {label}"}) for label, row in by_group.items()]
    return out


def _errors(groups: Sequence[_Group]) -> list[ErrorRow]:
    out = []
    for group in groups:
        rows: dict[tuple[object, ...], list[ErrorRow]] = {}
        for row in (row for run in group.runs for row in run.errors):
            rows.setdefault((row.method, row.sigma, row.weighting, row.quantity), []).append(row)
        for same in rows.values():
            mean, deviation = _mean([row.mean for row in same])
            changes = {"method": _named(same[0].method, group), "mean": mean, "spread": deviation}
            out.append(same[0].model_copy(update=changes))
    return out


def _cost(groups: Sequence[_Group]) -> list[CostRow]:
    out = []
    for group in groups:
        rows: dict[str, list[CostRow]] = {}
        for row in (row for run in group.runs for row in run.cost):
            rows.setdefault(row.method, []).append(row)
        for method, same in rows.items():
            keys = ("evaluations_per_image", "images_per_second", "seconds")
            values = {key: [v for row in same if (v := getattr(row, key)) is not None] for key in keys}
            means = {key: statistics.fmean(found) for key, found in values.items() if found}
            out.append(same[0].model_copy(update={"method": _named(method, group)} | means))
    return sorted(out, key=lambda row: row.method.partition(", ")[0])


def _spread(groups: Sequence[_Group], alone: str) -> str:
    """What stands after ± for groups and for single runs."""
    several = sorted({len(group.runs) for group in groups if len(group.runs) > 1})
    if not several:
        return alone
    text = f"the standard deviation over {' or '.join(map(str, several))} seeds"
    return text if all(len(group.runs) > 1 for group in groups) else f"{text}, and {alone} for single runs"


# ----------------------------------------------------------------------------------------------------
# Sections


def _findings(runs: Mapping[str, Run], groups: Sequence[_Group], metrics: Sequence[MetricRow]) -> list[str]:
    repeated = [group for group in groups if len(group.runs) > 1]
    said = [
        f"{group.label}: one recipe with seeds {', '.join(map(str, group.seeds))}; figures are mean ± sd."
        for group in repeated
    ]
    differing = [name for name in _differing_settings(runs) if name != "seed"]
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        said.append(f"The runs differ in {len(differing)} setting{'s' if len(differing) > 1 else ''}: {shown}.")
    elif not repeated:
        said.append("The recipes of the runs have the same settings.")
    found = metric_estimates(row for row in metrics if not is_real(row.method))
    return said + [
        text for metric, own in found.items() if (text := best_in_words(metric, own)) and re.match(LEADING, metric)
    ]


def _runs_blocks(runs: Mapping[str, Run], groups: Sequence[_Group]) -> tuple[Block, ...]:
    shown_as = {id(run): group.label for group in groups for run in group.runs}
    rows = []
    for label, run in runs.items():
        machine = run.about.get("machine")
        seconds = sum(stage.seconds or 0.0 for stage in run.stages)
        about = (
            *(str(run.about.get("started", MISSING)).replace("T", " ", 1), str(run.about.get("condgen", MISSING))),
            str(machine.get("device", MISSING)) if isinstance(machine, dict) else MISSING,
        )
        seed = str(run.settings.get("seed", 0)) if run.recipe else MISSING
        rows.append((label, run.name, seed, shown_as[id(run)], *about, format_number(seconds) if seconds else MISSING))
    head = ("run", "recipe", "seed", "shown as", "started", "condgen", "device", "seconds in all")
    settings = [
        (key, *(MISSING if v is None else v for v in values)) for key, values in _differing_settings(runs).items()
    ]
    caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
    words = frozenset(range(1, len(runs) + 1))
    differing = Table("Settings that differ", ("setting", *runs), tuple(settings), caption, words=words)
    table = Table("The runs", head, tuple(rows), words=frozenset({1, 3, 4, 5, 6}))
    return table, differing if settings else Prose("No setting of their recipes differs.")


def _errors_blocks(groups: Sequence[_Group], rows: Sequence[ErrorRow], spread: str) -> Iterable[Block]:
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
            table = errors_table(rows, weighting, quantity, spread=spread)
            if any(panels):
                caption = f"The mean error of the {meaning} against the noise level. Bars: {spread}."
                yield Figure(f"{quantity}, {words}", tuple(filter(None, panels)), caption, styles, (table,))
            elif table.rows:
                yield table


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


def _commands(runs: Mapping[str, Run]) -> list[str]:
    return [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
