"""Several runs on one page, by the tables and plots of a single one, with methods named "METHOD, GROUP".

Runs that differ in their seeds alone are a group, of which means and standard deviations are shown.
"""

import json
import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.build import data_of, read_reported, sections, sentences
from condgen.report.estimates import is_real
from condgen.report.load import Run
from condgen.report.page import Block, Code, Table, write_page
from condgen.report.samples import samples_blocks
from condgen.rows import AveragedRow, Row
from condgen.runs.layout import RUN_FILE, STAGE_FILE

_FREE = ("name", "seed", "sample.seed", "diagnose.seed")  # settings in which runs of one group may differ
_ROWS_OF = {  # of a run: by what rows differ but for the method, and what is averaged, the first with an interval
    "metrics": (("metric",), ("value",)),
    "errors": (("sigma", "weighting", "quantity"), ("mean",)),
    "held_out": (("sigma", "reference"), ("mean", "se")),
    "cost": ((), ("evaluations_per_image", "images_per_second", "seconds")),
}
_Groups: TypeAlias = Mapping[str, Sequence[Run]]  # by label: one, or several of one recipe with other seeds


def compare_runs(folders: Sequence[Path], out: Path) -> Run:
    """Writes a page that compares runs into a folder, which is no run's; returns its figures as one run's."""
    if any((out / name).exists() for name in (RUN_FILE, STAGE_FILE)):
        raise UserError(f"{out} is the folder of a run, which has a report of its own: choose another one with --out")
    with blamed_on(" or ".join(map(str, folders))):
        runs = _read(folders)
        groups, found = _group(runs), [_settings(run.settings) for run in runs.values()]
        values = {key: [one.get(key) for one in found] for key in dict.fromkeys(key for one in found for key in one)}
        settings = {key: own for key, own in values.items() if len(set(own)) > 1}  # None where a run has no such one
        rows: dict[str, Any] = {name: _merged(groups, name, key, numbers) for name, (key, numbers) in _ROWS_OF.items()}
        merged = Run(out, f"{len(runs)} runs compared", **rows)
        commands = [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
        commands.append(shlex.join(["condgen", "report", *map(str, folders), "--out", str(out)]))
        blocks = {"What was compared": _runs_section(runs, groups, settings), **sections(merged)}
        blocks |= {"Samples": _samples_section(runs), "How to reproduce": [Code("Commands", "\n".join(commands))]}
        data = {
            "runs": {label: {"folder": str(run.folder), "about": run.about} for label, run in runs.items()},
            "groups": [
                {"label": label, "runs": len(own), "seeds": [run.seed for run in own]} for label, own in groups.items()
            ],
            "settings": settings,
        }
        write_page(out, merged.name, sentences(merged), blocks, data_of(merged) | data)
        return merged


def _read(folders: Sequence[Path]) -> dict[str, Run]:
    places = {folder.resolve(): folder for folder in folders}
    names = Counter(place.name for place in places)
    if len(places) < len(folders):
        raise UserError("a run is named twice: name each run once")
    labels = {folder: place.name if names[place.name] == 1 else str(folder) for place, folder in places.items()}
    return {label: read_reported(folder) for folder, label in labels.items()}


def _group(runs: Mapping[str, Run]) -> dict[str, list[Run]]:
    alike: dict[str, dict[str, Run]] = {}
    for label, run in runs.items():
        settings = sorted((key, value) for key, value in _settings(run.settings).items() if key not in _FREE)
        alike.setdefault(str(settings) if settings else label, {})[label] = run
    groups: dict[str, list[Run]] = {}
    for own in alike.values():
        first, together = next(iter(own)), list(own.values())
        if len(together) > 1 and len({run.seed for run in together}) == len(together):
            groups[f"{own[first].name}, {len(together)} seeds ({first}, ...)"] = together
        else:
            groups |= {label: [run] for label, run in own.items()}
    return groups


def _settings(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= _settings(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _merged(groups: _Groups, rows: str, key: Sequence[str], numbers: Sequence[str]) -> list[Row]:
    """The rows of every group, by method and then by group, with means over seeds and an interval of ± sd."""
    found: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for label, runs in groups.items():
        for row in (row for run in runs for row in getattr(run, rows)):
            place = tuple(getattr(row, name) for name in ("method", *key))
            found.setdefault(place, {}).setdefault(label, []).append(row)
    out: list[Row] = []
    for (method, *_), by_group in sorted(found.items(), key=lambda item: is_real(item[0][0])):
        means = {label: _mean(own, numbers) for label, own in by_group.items()}
        if len(groups) == 1 or (is_real(method) and len({getattr(row, numbers[0]) for row in means.values()}) == 1):
            out.append(next(iter(means.values())))  # of real data the same in all
        else:
            out += [row.model_copy(update={"method": f"{method}, {label}"}) for label, row in means.items()]
    return out


def _mean(rows: Sequence[Row], numbers: Sequence[str]) -> Row:
    known = {name: [value for row in rows if (value := getattr(row, name)) is not None] for name in numbers}
    changes: dict[str, object] = {name: statistics.fmean(values) for name, values in known.items() if values}
    values = known[numbers[0]]
    if isinstance(rows[0], AveragedRow) and len(values) > 1:
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        deviation = 0.0 if deviation < 1e-9 * abs(mean) else deviation  # rounding
        changes |= {"low": mean - deviation, "high": mean + deviation, "seeds": len(values), "seed": None}
    return rows[0].model_copy(update=changes)


def _runs_section(runs: Mapping[str, Run], groups: _Groups, settings: dict[str, list[str | None]]) -> Iterable[Block]:
    rows = []
    for label, own in groups.items():
        seconds = statistics.fmean(sum(stage.seconds or 0.0 for stage in run.stages) for run in own)
        rows.append((label, own[0].name, ", ".join(str(run.seed) for run in own), seconds or None))
    caption = "Runs that differ in their seeds alone stand in one row; their figures are mean ± standard deviation."
    yield Table("The runs", ("run", "recipe", "seed", "seconds in all"), rows, caption)
    if settings:
        cells = [(key, *values) for key, values in settings.items()]
        caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
        yield Table("Settings that differ", ("setting", *runs), cells, caption, folded=len(settings) > 20)
    else:
        yield "No setting of their recipes differs."


def _samples_section(runs: Mapping[str, Run]) -> Iterable[Block]:
    """Samples of every method that more than one run has, with a column or panel for each run."""
    for method in dict.fromkeys(method for run in runs.values() for method in run.samples):
        sources = {label: run.samples[method] for label, run in runs.items() if method in run.samples}
        names = {(row.label, row.name) for _, rows in sources.values() for row in rows}
        if len(names) > len({label for label, _ in names}):  # of other data: a number is another class in each
            for label, source in sources.items():
                yield from samples_blocks({label: source}, f"{method}, {label}")
        elif len(sources) > 1:
            yield from samples_blocks(sources, method)
