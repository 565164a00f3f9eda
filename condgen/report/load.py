"""A run folder in memory, every row checked. Whatever is absent stays empty."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from condgen.errors import UserError
from condgen.files import as_rgb, is_file, parse_json, read_picture, read_text
from condgen.recipes import parse_yaml
from condgen.report.rows import (
    ClassifierRow,
    ClassRow,
    CostRow,
    ErrorRow,
    FieldRow,
    MetricRow,
    NeighbourRow,
    PreviewRow,
    Row,
    SampleRow,
    StageRow,
    TrajectoryRow,
    parse_rows,
)
from condgen.runs import layout, read_rows

__all__ = ["Curve", "GeneratorLog", "Run", "open_picture", "read_run", "read_trajectories"]

Curve: TypeAlias = list[tuple[int, float]]
"""Steps, rising, and finite values."""

_OPPONENTS = {"critic_real", "critic_fake", "fake_dsm", "real_dsm"}  # losses that only logs of generators hold
_GENERATOR_LOSSES = ("critic_real", "loss", "critic_fake", "real_dsm", "fake_dsm", "likelihood")
_Mapping: TypeAlias = dict[str, Any]


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
        recipe: the text; `settings` are the same, parsed.
        about: machine, versions and command.
        conditions: of the rows of each file, by its name.
        losses: by stage.
        checks: steps of a classifier's training with its held-out measures.
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
    fields: FieldRow | None = None
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
    about = _read_mapping(folder / layout.RUN_FILE)
    stages = parse_rows(StageRow, about.pop("stages", []), str(folder / layout.RUN_FILE))
    recipe = _read_text(folder / layout.RECIPE_FILE)
    settings = parse_yaml(recipe, str(folder / layout.RECIPE_FILE))
    settings = {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}
    conditions, rows = {}, {}
    for file, model in (
        (layout.METRICS, MetricRow),
        (layout.DIAGNOSTICS, ErrorRow),
        (layout.NEIGHBOURS, NeighbourRow),
        (layout.COST, CostRow),
    ):
        conditions[file], rows[file] = _read_rows(folder / file, model)
    field = _read_mapping(folder / layout.FIELD)
    fields = parse_rows(FieldRow, [field] if field else [], str(folder / layout.FIELD))
    trajectories = folder / layout.TRAJECTORIES_FOLDER
    ours = not stages or any(stage.folder == trajectories.name for stage in stages)  # not of an earlier recipe
    conditions[layout.CLASSIFIERS], classifiers = _read_calibrations(folder)
    run = Run(
        folder=folder,
        name=str(about.get("name") or settings.get("name") or folder.resolve().name),
        recipe=recipe,
        settings=settings,
        about=about,
        conditions=conditions,
        stages=stages,
        errors=rows[layout.DIAGNOSTICS],
        metrics=rows[layout.METRICS],
        by_class=_read_rows(folder / layout.METRICS, ClassRow, "by_class")[1],
        cost=rows[layout.COST],
        fields=fields[0] if fields else None,
        classifiers=classifiers,
        trajectories=read_trajectories(trajectories) if ours else [],
        neighbours=rows[layout.NEIGHBOURS],
    )
    manifests = {path.parent.name: path for path in sorted(folder.glob(f"{layout.SAMPLES_FOLDER}/*/{layout.MANIFEST}"))}
    measured = dict.fromkeys(
        row.method for rows in (run.metrics, run.cost) for row in rows
    )  # others are of earlier recipes
    for method in measured or manifests:
        if method in manifests:
            run.samples[method] = parse_rows(SampleRow, read_rows(manifests[method]), str(manifests[method]))
    _read_logs(run)
    return run


def _read_text(path: Path) -> str:
    try:
        return read_text(path) if is_file(path) else ""
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it anew") from error


def _read_mapping(path: Path) -> _Mapping:
    if not is_file(path):
        return {}
    try:
        return _mapping(parse_json(_read_text(path)), path)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); write it anew") from error


def _mapping(value: object, path: Path) -> _Mapping:
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where keys and values belong; write it anew")
    return value


def _read_rows(path: Path, model: type[Row], key: str = "rows") -> tuple[_Mapping, list[Any]]:
    """The conditions that a file of rows states, and the rows."""
    file = _read_mapping(path)
    return _mapping(file.get("what") or {}, path), parse_rows(model, file.get(key, []), f"{path}, {key}")


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
    """The trajectories in a stage's folder; a damaged file is a `UserError`."""
    return _read_rows(folder / layout.TRAJECTORIES, TrajectoryRow)[1]


def _read_calibrations(folder: Path) -> tuple[_Mapping, dict[str, list[ClassifierRow]]]:
    """Conditions and rows of calibrated classifiers: a run's own file, else those of the folder or below it."""
    what, rows = _read_rows(folder / layout.CLASSIFIERS, ClassifierRow)
    out = {row.classifier: [other for other in rows if other.classifier == row.classifier] for row in rows}
    below = sorted(folder.glob(f"*/{layout.CALIBRATION_FOLDER}/{layout.CALIBRATION}"))
    for path in () if rows else (layout.calibration_file(folder), *below):
        owner = path.resolve().parent.parent.name
        if path.is_file() and ".before-" not in owner:
            own, rows = _read_rows(path, ClassifierRow)
            what, out[owner.removeprefix("classifier-")] = what or own, rows
    return what, {name: sorted(found, key=lambda row: row.sigma) for name, found in out.items()}


def _read_logs(run: Run) -> None:
    """Losses, measures of classifiers, and generators, from the logs of the stages in their order."""
    order = {stage.folder: place for place, stage in enumerate(run.stages) if stage.folder}
    paths = {path.parent.name: path for path in sorted(run.folder.glob(f"*/{layout.LOG_FILE}"))}
    if order:  # others are of earlier recipes
        paths = {name: paths[name] for name in order if name in paths}
    if (run.folder / layout.LOG_FILE).is_file():
        paths["training"] = run.folder / layout.LOG_FILE
    for stage, path in paths.items():
        owner = run.folder.resolve().name if stage == "training" else stage
        name = owner.removeprefix("classifier-").removeprefix("generator-")
        rows = [row for row in read_rows(path) if isinstance(row.get("step"), int)]
        if losses := _curve(rows, "loss"):
            run.losses[stage] = losses
        checks = [(row["step"], parse_rows(ClassifierRow, row["levels"], str(path))) for row in rows if "levels" in row]
        if checks:
            run.checks[name] = checks
        previews = [{"step": row["step"], **_mapping(row["preview"], path)} for row in rows if "preview" in row]
        curves = {key: curve for key in _GENERATOR_LOSSES if (curve := _curve(rows, key))}
        if previews or curves.keys() & _OPPONENTS:
            parsed = sorted(parse_rows(PreviewRow, previews, str(path)), key=lambda row: row.step)
            skipped = max((int(count) for _, count in _curve(rows, "skipped")), default=0)
            run.generators[name] = GeneratorLog(path.parent, curves, parsed, skipped)


def _curve(rows: list[_Mapping], key: str) -> Curve:
    """Steps and values under a key, where they are numbers that can be drawn."""
    found = ((row["step"], row.get(key)) for row in rows)
    return sorted(
        (step, float(value)) for step, value in found if isinstance(value, int | float) and math.isfinite(value)
    )
