"""Several runs on one page.

Runs that differ in their seeds alone become one group with means and standard deviations. Its rows are those of one
run, with methods named "METHOD, GROUP" where there are several, so that the tables and plots of single runs show them.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.report.build import data_of, sections, sentences
from condgen.report.estimates import MISSING, format_number
from condgen.report.load import Run, read_run
from condgen.report.page import Block, Code, Prose, Table, write_page
from condgen.report.rows import is_real
from condgen.report.samples import samples_blocks
from condgen.rows import Row
from condgen.runs.layout import RUN_FILE, STAGE_FILE

_SEEDS = ("seed", "sample.seed", "diagnose.seed")  # in which runs of one group may differ
_ROWS_OF = {  # of a run: by what rows differ but for the method, and what is averaged, the first with an interval
    "metrics": (("metric",), ("value",)),
    "errors": (("sigma", "weighting", "quantity"), ("mean",)),
    "held_out": (("sigma", "quantity", "reference"), ("mean", "se")),
    "cost": ((), ("evaluations_per_image", "images_per_second", "seconds")),
}
_UNFOLDED, _ROWS = 2, 20  # tables of samples and rows of settings that are not folded
_R = TypeVar("_R", bound=Row)
_Groups: TypeAlias = Mapping[str, Sequence[Run]]
"""Runs by label: one, or several of one recipe with other seeds."""


def compare_runs(folders: Sequence[Path], out: Path) -> Run:
    """Writes a page that compares runs, with Markdown and JSON, into a folder; returns its figures as one run's.

    Raises:
        UserError: a folder that is no run's, or is named twice, or a run in the place of the page.
    """
    if any((out / name).exists() for name in (RUN_FILE, STAGE_FILE)):
        raise UserError(f"{out} is the folder of a run, which has a report of its own: choose another one with --out")
    with blamed_on(" or ".join(map(str, folders))):
        runs = _read(folders)
        groups, settings = _group(runs), _differing_settings(runs)
        rows: dict[str, Any] = {name: _merged(groups, name, key, numbers) for name, (key, numbers) in _ROWS_OF.items()}
        merged = Run(out, f"{len(runs)} runs compared", **rows)
        commands = [str(run.about["command"]) for run in runs.values() if run.about.get("command")]
        commands.append(f"condgen report {' '.join(map(str, folders))} --out {out}")
        blocks = {"What was compared": _runs_section(runs, groups, settings), **sections(merged)}
        blocks |= {"Samples": _samples_section(runs), "How to reproduce": [Code("Commands", "\n".join(commands))]}
        data = {
            "runs": {label: {"folder": str(run.folder), "about": run.about} for label, run in runs.items()},
            "groups": [{"label": label, "runs": len(own), "seeds": _seeds(own)} for label, own in groups.items()],
            "settings": settings,
        }
        write_page(out, merged.name, sentences(merged), blocks, data_of(merged) | data)
        return merged


def _read(folders: Sequence[Path]) -> dict[str, Run]:
    """Runs by the names of their folders, or by their paths where names are equal."""
    places = [folder.resolve() for folder in folders]
    names = [place.name for place in places]
    runs = {}
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{place} is named twice: name each run once")
        run = read_run(folder)
        if run.is_empty:
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


def _merged(groups: _Groups, rows: str, key: Sequence[str], numbers: Sequence[str]) -> list[Any]:
    """The rows of every group, by method and then by group, with means over seeds and an interval of ± sd."""
    found: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for label, runs in groups.items():
        for row in (row for run in runs for row in getattr(run, rows)):
            place = tuple(getattr(row, name) for name in ("method", *key))
            found.setdefault(place, {}).setdefault(label, []).append(row)
    out: list[Row] = []
    for (method, *_), by_group in sorted(found.items(), key=lambda item: is_real(item[0][0])):
        means = {
            method if len(groups) == 1 else f"{method}, {label}": _mean(own, numbers) for label, own in by_group.items()
        }
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


def _runs_section(
    runs: Mapping[str, Run], groups: _Groups, settings: Mapping[str, list[str | None]]
) -> Iterable[Block]:
    rows = []
    for label, own in groups.items():
        seconds = [sum(stage.seconds or 0.0 for stage in run.stages) for run in own]
        seeds = ", ".join(map(str, _seeds(own)))
        rows.append((label, own[0].name, seeds, format_number(statistics.fmean(seconds) or None)))
    caption = "Runs that differ in their seeds alone stand in one row; their figures are mean ± standard deviation."
    yield Table("The runs", ("run", "recipe", "seed", "seconds in all"), tuple(rows), caption)
    if settings:
        cells = tuple(
            (key, *(MISSING if value is None else value for value in values)) for key, values in settings.items()
        )
        caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
        yield Table("Settings that differ", ("setting", *runs), cells, caption, folded=len(settings) > _ROWS)
    else:
        yield Prose("No setting of their recipes differs.")


def _samples_section(runs: Mapping[str, Run]) -> Iterable[Block]:
    """Samples of every method that more than one run has, with a column or panel for each run."""
    shown = 0
    for method in dict.fromkeys(method for run in runs.values() for method in run.samples):
        sources = {label: (run, method) for label, run in runs.items() if method in run.samples}
        if len(sources) > 1:
            yield from samples_blocks(sources, method, folded=shown >= _UNFOLDED)
            shown += 1
