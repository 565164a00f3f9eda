"""Several runs beside each other: which are one recipe with other seeds, which settings differ, and their figures.

Runs of one recipe that differ in their seeds alone stand together, as mean and standard deviation over the seeds; never
as the best of them.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from condgen.errors import UserError
from condgen.metrics import REAL
from condgen.report.estimates import Estimate, error_estimates, metric_estimates
from condgen.report.inputs import Run, read_run
from condgen.report.rows import CostRow, Quantity, Weighting, parse_rows

__all__ = ["Group", "differing_settings", "group_runs", "read_runs"]

_SEEDS = ("seed", "sample.seed", "diagnose.seed")  # what runs of one group may differ in
_NO_SETTINGS = ("name",)


@dataclass(frozen=True)
class Group:
    """One run, or several of one recipe with other seeds.

    Attributes:
        label: for people, unique in the page.
        runs: in the order they were named.
        seeds: of their recipes.
    """

    label: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...] = ()

    @property
    def repeated(self) -> bool:
        """Whether its figures are means over seeds."""
        return len(self.runs) > 1

    def metrics(self, method: str) -> dict[str, Estimate]:
        """The figures of a method's samples, or of real data, by metric."""
        found = [_one_method(run, method) for run in self.runs]
        return {metric: _over([one[metric] for one in found if metric in one]) for metric in _union(found)}

    def errors(self, weighting: Weighting, quantity: Quantity) -> dict[str, dict[float, Estimate]]:
        """Score errors by method and noise level."""
        found = [error_estimates(run.errors, weighting, quantity) for run in self.runs]
        out: dict[str, dict[float, Estimate]] = {}
        for method in _union(found):
            levels = [one[method] for one in found if method in one]
            out[method] = {level: _over([one[level] for one in levels if level in one]) for level in _union(levels)}
        if weighting == "grid" and not self.repeated:  # nothing is sampled there
            return {m: {s: Estimate(estimate.value) for s, estimate in found.items()} for m, found in out.items()}
        return out

    def cost(self) -> dict[str, dict[str, Estimate]]:
        """Network evaluations a sample and samples a second, by method."""
        out: dict[str, dict[str, list[Estimate]]] = {}
        for run in self.runs:
            for row in parse_rows(CostRow, run.cost, "cost"):
                for name in ("evaluations_per_image", "images_per_second"):
                    value = getattr(row, name)
                    if value is not None:
                        out.setdefault(row.method, {}).setdefault(name, []).append(Estimate(value))
        return {method: {name: _over(values) for name, values in found.items()} for method, found in out.items()}


def _one_method(run: Run, method: str) -> dict[str, Estimate]:
    """Metrics of one method of a run; real data have rows of their own, or stand as the floor of others."""
    found = metric_estimates([row for row in run.metrics if row["method"] == method])
    if method == REAL:
        for row in run.metrics:
            if row.get("floor") is not None:
                found.setdefault(row["metric"], {REAL: Estimate(float(row["floor"]))})
    return {metric: by_method[method] for metric, by_method in found.items()}


def _over(estimates: Sequence[Estimate]) -> Estimate:
    """The only one as it is, or the mean ± sd of several."""
    if len(estimates) == 1:
        return estimates[0]
    values = [estimate.value for estimate in estimates]
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    if sd < 1e-9 * abs(mean):  # rounding, where nothing depends on the seed
        sd = 0.0
    return Estimate(mean, mean - sd, mean + sd)


def _union(keys: Iterable[Iterable[Any]]) -> list[Any]:
    """All keys in the order in which they come first."""
    return list(dict.fromkeys(key for one in keys for key in one))


# ----------------------------------------------------------------------------------------------------


def read_runs(folders: Sequence[Path]) -> dict[str, Run]:
    """Runs by the names of their folders, with as much of the path as tells them apart.

    Raises:
        UserError: a folder that is named twice, is none, or holds nothing to compare.
    """
    places = [folder.resolve() for folder in folders]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice: name each run once")
    runs = {}
    for folder, place in zip(folders, places, strict=True):
        run = read_run(folder)
        if not (run.metrics or run.errors or run.cost or run.samples or run.losses):
            raise UserError(f"{folder} holds nothing to compare; run a recipe into it first (condgen run RECIPE)")
        depth = next(n for n in range(1, len(place.parts) + 1) if _alone(place, places, n))
        runs["/".join(place.parts[-depth:])] = run
    return runs


def _alone(place: Path, places: Sequence[Path], depth: int) -> bool:
    return sum(other.parts[-depth:] == place.parts[-depth:] for other in places) == 1


def group_runs(runs: Mapping[str, Run]) -> list[Group]:
    """Runs that differ in nothing but seeds, together; the others alone."""
    found: dict[str, list[tuple[str, Run, dict[str, Any]]]] = {}
    for label, run in runs.items():
        settings = _settings(run)
        same = str(sorted((key, str(value)) for key, value in settings.items() if key not in _SEEDS)) or label
        found.setdefault(same if settings else label, []).append((label, run, settings))
    groups: list[Group] = []
    for members in found.values():
        seeds = tuple(settings.get("seed", 0) for _, _, settings in members)
        if len(members) > 1 and len(set(seeds)) == len(seeds):
            label = f"{members[0][1].name}, {len(seeds)} seeds"
            taken = [group.label for group in groups]
            groups.append(Group(f"{label} ({members[0][0]})" if label in taken else label, _runs(members), seeds))
        else:
            groups += [Group(label, (run,), (settings.get("seed", 0),)) for label, run, settings in members]
    return groups


def _runs(members: Sequence[tuple[str, Run, dict[str, Any]]]) -> tuple[Run, ...]:
    return tuple(run for _, run, _ in members)


def differing_settings(runs: Mapping[str, Run]) -> dict[str, list[str | None]]:
    """Settings that are not the same in all runs: by dotted key, one value a run, None where it has none."""
    found = [_settings(run) for run in runs.values()]
    return {
        key: [None if key not in one else _written(one[key]) for one in found]
        for key in _union(found)
        if len({_written(one[key]) if key in one else None for one in found}) > 1
    }


def _settings(run: Run) -> dict[str, Any]:
    return {key: value for key, value in _flat(run.settings).items() if key not in _NO_SETTINGS}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        out |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return out


def _written(value: object) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n...")[0].strip()
