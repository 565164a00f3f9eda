"""What a run folder holds, read and checked. Whatever is absent stays empty."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from condgen.errors import UserError
from condgen.files import is_file, parse_json, read_text
from condgen.recipes import parse_yaml
from condgen.report.pictures import Sample, read_manifests
from condgen.report.plots import Field
from condgen.report.rows import (
    LARGEST,
    ClassifierRow,
    ClassRow,
    CostRow,
    ErrorRow,
    LookRow,
    MetricRow,
    NeighbourRow,
    RawRow,
    StageRow,
    TrajectoryRow,
    parse_rows,
)
from condgen.runs import read_rows
from condgen.runs.layout import (
    CALIBRATION,
    CALIBRATION_FOLDER,
    CLASSIFIERS,
    COST,
    DIAGNOSTICS,
    FIELD,
    LOG_FILE,
    METRICS,
    NEIGHBOURS,
    RECIPE_FILE,
    RUN_FILE,
    SAMPLES_FOLDER,
    TRAJECTORIES,
    TRAJECTORIES_FOLDER,
)

__all__ = ["FieldData", "GeneratorLog", "Run", "read_mapping", "read_run"]


_OPPONENTS = {"critic_real", "critic_fake", "fake_dsm", "real_dsm"}  # their losses stand in generators' logs alone
_GENERATOR_LOSSES = ("critic_real", "loss", "critic_fake", "real_dsm", "fake_dsm", "likelihood")


@dataclass(frozen=True)
class FieldData:
    """Likelihood scores on a grid, each field of shape (classes, len(y), len(x), 2), and some data points."""

    sigma: float
    x: tuple[float, ...]
    y: tuple[float, ...]
    names: tuple[str, ...]
    points: Field
    labels: tuple[int, ...]
    fields: dict[str, Field]


@dataclass(frozen=True)
class GeneratorLog:
    """What the log of a generator's training holds beside the looks.

    Attributes:
        folder: of the stage.
        losses: steps and finite values by the name that the log gives them.
        skipped: updates that were left out because their gradient was not finite.
    """

    folder: Path
    losses: dict[str, list[tuple[int, float]]]
    skipped: int = 0


@dataclass(frozen=True)
class Run:
    """A run folder in memory; images are left on disk until they are shown.

    Attributes:
        recipe: as it was written.
        settings: that it says; empty where it is no mapping.
    """

    folder: Path
    name: str
    recipe: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    stages: list[RawRow] = field(default_factory=list)
    diagnosed: dict[str, Any] = field(default_factory=dict)
    errors: list[RawRow] = field(default_factory=list)
    evaluated: dict[str, Any] = field(default_factory=dict)
    metrics: list[RawRow] = field(default_factory=list)
    by_class: list[RawRow] = field(default_factory=list)
    cost: list[RawRow] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    field_data: FieldData | None = None
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    calibrated: dict[str, Any] = field(default_factory=dict)
    classifiers: list[RawRow] = field(default_factory=list)
    checks: dict[str, list[tuple[int, list[RawRow]]]] = field(default_factory=dict)
    looks: list[RawRow] = field(default_factory=list)
    generators: dict[str, GeneratorLog] = field(default_factory=dict)
    trajectories: list[RawRow] = field(default_factory=list)
    neighboured: dict[str, Any] = field(default_factory=dict)
    neighbours: list[RawRow] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        found = (self.errors, self.metrics, self.cost, self.samples, self.losses, self.classifiers, self.checks)
        return not (self.recipe or self.about or self.generators or any(found))

    def drawn_by(self) -> dict[str, str]:
        """The generators of one-step methods, by method, as the recipe has them."""
        sample = self.settings.get("sample")
        methods = sample.get("methods") if isinstance(sample, dict) else None
        found = methods.items() if isinstance(methods, dict) else ()
        return {str(name): str(m["generator"]) for name, m in found if isinstance(m, dict) and m.get("generator")}


def read_run(folder: Path) -> Run:
    """Everything that a report can show of a run folder.

    Raises:
        UserError: no such folder, or a file in it that is not what its name says.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the folder of a run, such as runs/digits")
    about = read_mapping(folder / RUN_FILE)
    diagnosed, evaluated = read_mapping(folder / DIAGNOSTICS), read_mapping(folder / METRICS)
    recipe = _read_text(folder / RECIPE_FILE)
    settings = _settings(recipe, folder / RECIPE_FILE)
    metrics = _rows(evaluated, "rows", folder / METRICS)
    cost = _rows(read_mapping(folder / COST), "rows", folder / COST)
    calibrated, classifiers = _read_calibrations(folder)
    stages = _rows(about, "stages", folder / RUN_FILE)
    generators, looks = _read_generators(folder, about)
    neighbours = read_mapping(folder / NEIGHBOURS)
    run = Run(
        folder=folder,
        name=str(about.get("name") or settings.get("name") or folder.resolve().name),
        recipe=recipe,
        settings=settings,
        about={key: value for key, value in about.items() if key != "stages"},
        stages=stages,
        diagnosed=_mapping(diagnosed.get("what"), folder / DIAGNOSTICS),
        errors=_rows(diagnosed, "rows", folder / DIAGNOSTICS),
        evaluated=_mapping(evaluated.get("what"), folder / METRICS),
        metrics=metrics,
        by_class=_rows(evaluated, "by_class", folder / METRICS),
        cost=cost,
        samples=read_manifests(folder / SAMPLES_FOLDER, [str(row.get("method")) for row in (*metrics, *cost)]),
        field_data=_read_field(folder / FIELD),
        losses=_read_losses(folder, about),
        calibrated=calibrated,
        classifiers=classifiers,
        checks=_read_checks(folder, about),
        looks=looks,
        generators=generators,
        trajectories=_read_trajectories(folder, about),
        neighboured=_mapping(neighbours.get("what"), folder / NEIGHBOURS),
        neighbours=_rows(neighbours, "rows", folder / NEIGHBOURS),
    )
    for model, rows, file in (
        (StageRow, run.stages, RUN_FILE),
        (ErrorRow, run.errors, DIAGNOSTICS),
        (MetricRow, run.metrics, METRICS),
        (ClassRow, run.by_class, "metrics.json, by_class"),
        (CostRow, run.cost, COST),
        (ClassifierRow, run.classifiers, "classifiers.json or calibration.json"),
        (ClassifierRow, [row for history in run.checks.values() for _, check in history for row in check], LOG_FILE),
        (LookRow, run.looks, LOG_FILE),
        (TrajectoryRow, run.trajectories, f"{TRAJECTORIES_FOLDER}/{TRAJECTORIES}"),
        (NeighbourRow, run.neighbours, NEIGHBOURS),
    ):
        parse_rows(model, rows, str(folder / file))
    return run


# ----------------------------------------------------------------------------------------------------
# Files


def _read_text(path: Path) -> str:
    if not is_file(path):
        return ""
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it anew") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no such file."""
    if not is_file(path):
        return {}
    return _mapping(_parse(_read_text(path), str(path)), path)


def _parse(text: str, where: str) -> object:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); write it anew") from error


def _mapping(value: object, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where keys and values belong; write it anew")
    return value


def _rows(mapping: dict[str, Any], key: str, path: Path) -> list[RawRow]:
    rows = mapping.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: {key} is not a list of rows; write the file anew")
    return rows


def _settings(recipe: str, path: Path) -> dict[str, Any]:
    """What the recipe says; all else reads it from here, so that it is parsed, and checked, once."""
    tree = parse_yaml(recipe, str(path))
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


def _read_trajectories(folder: Path, about: dict[str, Any]) -> list[RawRow]:
    """Those of this recipe: of an earlier one, they may have been left behind."""
    path, stages = folder / TRAJECTORIES_FOLDER / TRAJECTORIES, about.get("stages")
    ours = not isinstance(stages, list) or any(
        s.get("folder") == path.parent.name for s in stages if isinstance(s, dict)
    )
    return _rows(read_mapping(path), "rows", path) if ours else []


def _read_field(path: Path) -> FieldData | None:
    raw = read_mapping(path)
    if not raw:
        return None
    try:
        x, y, names = tuple(map(float, raw["x"])), tuple(map(float, raw["y"])), tuple(map(str, raw["names"]))
        shape = (len(names), len(y), len(x), 2)
        points = np.asarray(raw.get("points", []), dtype=np.float64).reshape(-1, 2)
        labels = tuple(map(int, raw.get("labels", [])))
        fields = {str(k): np.asarray(v, dtype=np.float64).reshape(shape) for k, v in raw["fields"].items()}
        if len(points) != len(labels):
            raise ValueError(f"{len(labels)} labels of {len(points)} points")
        if any((np.abs(values) > LARGEST).any() for values in (np.array(x + y), points, *fields.values())):
            raise ValueError(f"a number beyond {LARGEST:g}")
        return FieldData(float(raw["sigma"]), x, y, names, points, labels, fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} does not hold fields on its grid ({error}); diagnose the run anew") from error


def _read_calibrations(folder: Path) -> tuple[dict[str, Any], list[RawRow]]:
    """Conditions and rows of calibrated classifiers: a run's own file, else those of the folder or below it."""
    path = folder / CLASSIFIERS
    whole = read_mapping(path)
    if whole:
        return _mapping(whole.get("what"), path), _rows(whole, "rows", path)
    name = CALIBRATION
    places = [folder / name, folder / CALIBRATION_FOLDER / name, *sorted(folder.glob(f"*/{CALIBRATION_FOLDER}/{name}"))]
    what: dict[str, Any] = {}
    rows: list[RawRow] = []
    for place in places:
        owner = place.resolve().parent.parent.name  # of the folder "calibration", the classifier's
        if place.is_file() and ".before-" not in owner:
            one = read_mapping(place)
            what = what or _mapping(one.get("what"), place)
            rows += [{"classifier": owner.removeprefix("classifier-"), **row} for row in _rows(one, "rows", place)]
    return what, rows


def _logs(folder: Path, about: dict[str, Any]) -> dict[str, Path]:
    """The logs of a run's stages in their order, or the one log of a stage's own folder."""
    stages = about.get("stages")
    order = [str(s.get("folder")) for s in (stages if isinstance(stages, list) else ()) if isinstance(s, dict)]
    logs = {str(log.parent.relative_to(folder)): log for log in sorted(folder.glob(f"*/{LOG_FILE}"))}
    if order:  # what an earlier recipe left, or was set aside, is no part of this run
        logs = {name: log for name, log in logs.items() if name in order}
    if (folder / LOG_FILE).is_file():
        logs["training"] = folder / LOG_FILE
    names = sorted(logs, key=lambda name: (order.index(name) if name in order else len(order), name))
    return {name: logs[name] for name in names}


def _read_checks(folder: Path, about: dict[str, Any]) -> dict[str, list[tuple[int, list[RawRow]]]]:
    """By classifier, the steps of its training at which it was measured on held-out data, and the rows."""
    out: dict[str, list[tuple[int, list[RawRow]]]] = {}
    for name, path in _logs(folder, about).items():
        who = folder.resolve().name if name == "training" else name
        for row in read_rows(path):
            if isinstance(row.get("step"), int) and "levels" in row:
                owner = who.removeprefix("classifier-")
                rows: list[RawRow] = [{"classifier": owner, **level} for level in _rows(row, "levels", path)]
                out.setdefault(owner, []).append((row["step"], rows))
    return out


def _read_losses(folder: Path, about: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Finite losses of every stage's log, in the order of the stages."""
    found = {name: _finite(read_rows(path), "loss") for name, path in _logs(folder, about).items()}
    return {name: losses for name, losses in found.items() if losses}


def _finite(rows: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    """Steps and values of what the rows of a log call by this name, where it is a number to draw; steps rising."""
    found = ((row.get("step"), row.get(key)) for row in rows)
    return sorted(
        (step, float(value))
        for step, value in found
        if isinstance(step, int) and isinstance(value, int | float) and abs(value) <= LARGEST
    )


def _read_generators(folder: Path, about: dict[str, Any]) -> tuple[dict[str, GeneratorLog], list[RawRow]]:
    """The logs of stages that trained a generator, by its name, and all looks."""
    logs: dict[str, GeneratorLog] = {}
    looks: list[RawRow] = []
    for name, path in _logs(folder, about).items():
        rows = read_rows(path)
        seen = [row for row in rows if isinstance(row.get("step"), int) and "preview" in row]
        losses = {key: found for key in _GENERATOR_LOSSES if (found := _finite(rows, key))}
        if not seen and not losses.keys() & _OPPONENTS:
            continue
        who = (folder.resolve().name if name == "training" else name).removeprefix("generator-")
        skipped = max((int(count) for _, count in _finite(rows, "skipped")), default=0)
        logs[who] = GeneratorLog(path.parent, losses, skipped)
        looks += [{"generator": who, "step": row["step"], **_mapping(row["preview"], path)} for row in seen]
    return logs, looks
