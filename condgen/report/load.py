"""A run folder in memory, every row checked. Whatever is absent stays empty."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from condgen.errors import UserError
from condgen.files import as_rgb, is_file, parse_json, read_picture, read_text
from condgen.recipes import parse_yaml
from condgen.report.rows import (
    LARGEST,
    ClassifierRow,
    ClassRow,
    CostRow,
    ErrorRow,
    MetricRow,
    NeighbourRow,
    PreviewRow,
    SampleRow,
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
    MANIFEST,
    METRICS,
    NEIGHBOURS,
    RECIPE_FILE,
    RUN_FILE,
    SAMPLES_FOLDER,
    TRAJECTORIES,
    TRAJECTORIES_FOLDER,
    calibration_file,
)

__all__ = ["Array", "Curve", "FieldData", "GeneratorLog", "Run", "open_picture", "read_run", "read_trajectories"]

Array: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = list[tuple[int, float]]
"""Steps, rising, and finite values."""

_OPPONENTS = {"critic_real", "critic_fake", "fake_dsm", "real_dsm"}  # losses that only logs of generators hold
_GENERATOR_LOSSES = ("critic_real", "loss", "critic_fake", "real_dsm", "fake_dsm", "likelihood")
_Mapping: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class FieldData:
    """Likelihood scores on a grid, each of shape (classes, len(y), len(x), 2), and some data, (n, 2)."""

    sigma: float
    x: Array
    y: Array
    names: tuple[str, ...]
    points: Array
    labels: tuple[int, ...]
    fields: dict[str, Array]


@dataclass(frozen=True)
class GeneratorLog:
    """A generator's training: the stage's folder, losses by name, previews, and the number of skipped updates."""

    folder: Path
    losses: dict[str, Curve]
    previews: list[PreviewRow]
    skipped: int = 0

    @property
    def collapsed(self) -> bool:
        """Whether it was collapsed at the last preview."""
        return bool(self.previews) and self.previews[-1].reading.collapsed


@dataclass(frozen=True)
class Run:
    """A run folder; images stay on disk until they are shown.

    Attributes:
        recipe: the text.
        settings: the same, parsed.
        about: machine, versions and command.
        conditions: of metrics, diagnostics, classifiers and neighbours: what their files say beside the rows.
        losses: by stage.
        checks: held-out measures of classifiers in training: steps and rows.
    """

    folder: Path
    name: str
    recipe: str = ""
    settings: _Mapping = field(default_factory=dict)
    about: _Mapping = field(default_factory=dict)
    conditions: dict[str, _Mapping] = field(default_factory=dict)
    stages: list[StageRow] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    by_class: list[ClassRow] = field(default_factory=list)
    cost: list[CostRow] = field(default_factory=list)
    samples: dict[str, list[SampleRow]] = field(default_factory=dict)
    field_data: FieldData | None = None
    losses: dict[str, Curve] = field(default_factory=dict)
    classifiers: dict[str, list[ClassifierRow]] = field(default_factory=dict)
    checks: dict[str, list[tuple[int, list[ClassifierRow]]]] = field(default_factory=dict)
    generators: dict[str, GeneratorLog] = field(default_factory=dict)
    trajectories: list[TrajectoryRow] = field(default_factory=list)
    neighbours: list[NeighbourRow] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        found = (self.errors, self.metrics, self.cost, self.samples, self.losses, self.classifiers, self.checks)
        return not (self.recipe or self.about or self.generators or any(found))

    def methods(self) -> list[str]:
        """All methods that something was measured of."""
        sampled = [row.method for row in self.metrics] + [row.method for row in self.cost]
        return list(dict.fromkeys([*sampled, *(row.method for row in self.errors)]))

    def collapsed_methods(self) -> set[str]:
        """Methods that draw from a generator that has collapsed."""
        collapsed = {name for name, log in self.generators.items() if log.collapsed}
        methods = (self.settings.get("sample") or {}).get("methods") or {}
        return collapsed | {name for name, method in methods.items() if (method or {}).get("generator") in collapsed}


def read_run(folder: Path) -> Run:
    """Everything that a report can show of a run folder.

    Raises:
        UserError: no such folder, or a file in it that is not what its name says.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the folder of a run, such as runs/digits")
    about, metrics = _read_mapping(folder / RUN_FILE), _read_mapping(folder / METRICS)
    diagnostics, neighbours = _read_mapping(folder / DIAGNOSTICS), _read_mapping(folder / NEIGHBOURS)
    recipe = _read_text(folder / RECIPE_FILE)
    settings = parse_yaml(recipe, str(folder / RECIPE_FILE))
    settings = {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}
    stages = parse_rows(StageRow, about.pop("stages", []), str(folder / RUN_FILE))
    calibration, classifiers = _read_calibrations(folder)
    conditions = {"metrics": metrics, "diagnostics": diagnostics, "neighbours": neighbours, "classifiers": calibration}
    run = Run(
        folder=folder,
        name=str(about.get("name") or settings.get("name") or folder.resolve().name),
        recipe=recipe,
        settings=settings,
        about=about,
        conditions={key: _mapping(file.get("what"), folder / key) for key, file in conditions.items()},
        stages=stages,
        errors=_rows(ErrorRow, diagnostics, folder / DIAGNOSTICS),
        metrics=_rows(MetricRow, metrics, folder / METRICS),
        by_class=_rows(ClassRow, metrics, folder / METRICS, "by_class"),
        cost=_rows(CostRow, _read_mapping(folder / COST), folder / COST),
        field_data=_read_field(folder / FIELD),
        classifiers=_by_classifier(classifiers),
        trajectories=_trajectories_of(folder, stages),
        neighbours=_rows(NeighbourRow, neighbours, folder / NEIGHBOURS),
    )
    run.samples.update(_read_manifests(folder, run.methods()))
    _read_logs(run)
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


def _read_mapping(path: Path) -> _Mapping:
    text = _read_text(path)
    if not is_file(path):
        return {}
    try:
        return _mapping(parse_json(text), path)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); write it anew") from error


def _mapping(value: object, path: Path) -> _Mapping:
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where keys and values belong; write it anew")
    return value or {}


def _rows(model: Any, file: _Mapping, path: Path, key: str = "rows") -> list[Any]:  # noqa: ANN401 - any row
    return parse_rows(model, file.get(key, []), f"{path}, {key}")


def _read_manifests(run: Path, order: list[str]) -> dict[str, list[SampleRow]]:
    """Samples by method, in the order of the metrics; others are of earlier recipes."""
    out = {}
    for manifest in sorted((run / SAMPLES_FOLDER).glob(f"*/{MANIFEST}")):
        samples = parse_rows(SampleRow, read_rows(manifest), str(manifest))
        if any(sample.x is not None and len(sample.x) != 2 for sample in samples):
            raise UserError(f"{manifest} holds points that are not of the plane; sample anew")
        if samples and (not order or manifest.parent.name in order):
            out[manifest.parent.name] = samples
    return {method: out[method] for method in dict.fromkeys([*order, *out]) if method in out}


def open_picture(folder: Path, name: str) -> Image.Image:
    """A picture that a file in a folder names, in RGB.

    Raises:
        UserError: it is gone, is no picture, or lies outside the folder.
    """
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder} names a picture that lies outside it, {name}: run the recipe again")
        return as_rgb(read_picture(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable image ({error}): sample anew") from error


def read_trajectories(folder: Path) -> list[TrajectoryRow]:
    """The trajectories in a stage's folder.

    Raises:
        UserError: they are damaged.
    """
    return _rows(TrajectoryRow, _read_mapping(folder / TRAJECTORIES), folder / TRAJECTORIES)


def _trajectories_of(run: Path, stages: list[StageRow]) -> list[TrajectoryRow]:
    """Those of this recipe: an earlier one may have left others."""
    ours = not stages or any(stage.folder == TRAJECTORIES_FOLDER for stage in stages)
    return read_trajectories(run / TRAJECTORIES_FOLDER) if ours else []


def _read_field(path: Path) -> FieldData | None:
    raw = _read_mapping(path)
    if not raw:
        return None
    try:
        x, y, names = np.asarray(raw["x"], float), np.asarray(raw["y"], float), tuple(map(str, raw["names"]))
        points = np.asarray(raw.get("points", []), dtype=np.float64).reshape(-1, 2)
        labels = tuple(map(int, raw.get("labels", [])))
        shape = (len(names), len(y), len(x), 2)
        fields = {str(key): np.asarray(value, float).reshape(shape) for key, value in raw["fields"].items()}
        if len(points) != len(labels):
            raise ValueError(f"{len(labels)} labels of {len(points)} points")
        if any((np.abs(values) > LARGEST).any() for values in (x, y, points, *fields.values())):
            raise ValueError(f"a number beyond {LARGEST:g}")
        return FieldData(float(raw["sigma"]), x, y, names, points, labels, fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} does not hold fields on its grid ({error}); diagnose the run anew") from error


def _read_calibrations(folder: Path) -> tuple[_Mapping, list[ClassifierRow]]:
    """Conditions and rows of calibrated classifiers: a run's own file, else those of the folder or below it."""
    whole = _read_mapping(folder / CLASSIFIERS)
    if whole:
        return whole, _rows(ClassifierRow, whole, folder / CLASSIFIERS)
    first: _Mapping = {}
    rows: list[ClassifierRow] = []
    for place in (calibration_file(folder), *sorted(folder.glob(f"*/{CALIBRATION_FOLDER}/{CALIBRATION}"))):
        owner = place.resolve().parent.parent.name
        if place.is_file() and ".before-" not in owner:
            one = _read_mapping(place)
            first = first or one
            rows += _levels(one.get("rows"), owner, place)
    return first, rows


def _levels(rows: object, classifier: str, path: Path) -> list[ClassifierRow]:
    name = {"classifier": classifier.removeprefix("classifier-")}
    named = [name | row if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else rows
    return parse_rows(ClassifierRow, named, str(path))


def _by_classifier(rows: list[ClassifierRow]) -> dict[str, list[ClassifierRow]]:
    """Noise levels rising."""
    out: dict[str, list[ClassifierRow]] = {row.classifier: [] for row in rows}
    for row in sorted(rows, key=lambda row: row.sigma):
        out[row.classifier].append(row)
    return out


# ----------------------------------------------------------------------------------------------------
# Logs


def _read_logs(run: Run) -> None:
    """Losses, measures of classifiers, and generators, from the logs of the stages in their order."""
    order = {stage.folder: place for place, stage in enumerate(run.stages) if stage.folder}
    paths = {path.parent.name: path for path in sorted(run.folder.glob(f"*/{LOG_FILE}"))}
    if order:  # others are of earlier recipes
        paths = {name: paths[name] for name in order if name in paths}
    if (run.folder / LOG_FILE).is_file():
        paths["training"] = run.folder / LOG_FILE
    for stage, path in paths.items():
        owner = run.folder.resolve().name if stage == "training" else stage
        rows = [row for row in read_rows(path) if isinstance(row.get("step"), int)]
        if losses := _curve(rows, "loss"):
            run.losses[stage] = losses
        checks = [(row["step"], _levels(row["levels"], owner, path)) for row in rows if "levels" in row]
        if checks:
            run.checks[checks[0][1][0].classifier if checks[0][1] else owner] = checks
        previews = [row for row in rows if "preview" in row]
        curves = {key: curve for key in _GENERATOR_LOSSES if (curve := _curve(rows, key))}
        if previews or curves.keys() & _OPPONENTS:
            name = owner.removeprefix("generator-")
            found = [{"generator": name, "step": row["step"]} | _mapping(row["preview"], path) for row in previews]
            parsed = sorted(parse_rows(PreviewRow, found, str(path)), key=lambda row: row.step)
            skipped = max((int(count) for _, count in _curve(rows, "skipped")), default=0)
            run.generators[name] = GeneratorLog(path.parent, curves, parsed, skipped)


def _curve(rows: list[_Mapping], key: str) -> Curve:
    """Steps and values under a key, where they are numbers that can be drawn."""
    found = ((row["step"], row.get(key)) for row in rows)
    return sorted(
        (step, float(value)) for step, value in found if isinstance(value, int | float) and abs(value) <= LARGEST
    )
