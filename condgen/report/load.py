"""A run folder in memory, every row checked. Whatever is absent stays empty."""

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, RootModel

from condgen.diagnostics.classifier_errors import LevelRow
from condgen.diagnostics.held_out import HeldOutRow
from condgen.diagnostics.score_errors import ErrorRow
from condgen.errors import UserError
from condgen.files import blamed_on, read_text
from condgen.metrics.collapse import Reading
from condgen.metrics.measures import MetricRow
from condgen.recipes.compose import read_yaml
from condgen.report.figures import Style, method_styles
from condgen.rows import Row, parse_rows
from condgen.runs import layout
from condgen.runs.folder import read_json, read_rows
from condgen.runs.sample_folder import Sampled
from condgen.settings import SettingsType, parse

Curve: TypeAlias = list[tuple[int, float]]  # steps, rising, and finite values
# What logs call the loss of a stage and those of a generator's opponents
LOSSES = ("loss", "critic_real", "critic_fake", "real_dsm", "fake_dsm", "likelihood")
_Mapping: TypeAlias = dict[str, Any]
_Label: TypeAlias = Annotated[int, Field(alias="class", ge=0, lt=1_000_000)]


class StageRow(Row):
    stage: str
    folder: str | None = None
    seconds: float | None = None
    what: str = ""


_DiagnosticRow = RootModel[Annotated[ErrorRow | HeldOutRow, Field(discriminator="quantity")]]


class ClassRow(Row):
    metric: str
    method: str
    label: _Label
    name: str
    value: float


class CostRow(Row):
    method: str
    images: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    evaluations_per_image: float | None = None
    sampler: str | None = None
    steps: int | None = None
    scale: float | None = None
    guide: str | None = None


class PreviewRow(Reading):
    step: int


class FieldRow(Row):
    """Likelihood scores of every class on a grid, by method, each of shape (classes, len(y), len(x), 2), and data."""

    sigma: float
    x: tuple[float, ...] = Field(min_length=2)
    y: tuple[float, ...] = Field(min_length=2)
    names: tuple[str, ...]
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    fields: dict[str, Any]


class PixelsRow(Row):
    """By pair of methods, at each level and pixel, a mean difference over n images in its standard errors."""

    levels: tuple[float, ...]
    n: int
    z: dict[str, tuple[tuple[tuple[float, ...], ...], ...]]  # (levels, H, W)


class NearRow(Row):
    index: int
    label: _Label
    name: str
    distance: float
    file: str | None = None


class NeighbourRow(Row):
    """A sample and the training data nearest to it, the nearest first."""

    method: str
    label: _Label
    name: str
    seed: int | None = None
    file: str | None = None
    x: tuple[float, ...] | None = None
    elsewhere: float | None = None  # the distance of the nearest training sample to its own nearest other
    neighbours: tuple[NearRow, ...] = ()


@dataclass(frozen=True)
class GeneratorLog:
    """A generator in training: its folder, previews, at least one, and how many updates were skipped."""

    folder: Path
    previews: list[PreviewRow]
    skipped: int = 0


@dataclass(frozen=True)
class Run:
    folder: Path
    name: str
    recipe: str = ""  # the text; `settings` are the same, parsed
    settings: _Mapping = field(default_factory=dict)
    about: _Mapping = field(default_factory=dict)  # machine, versions and command
    conditions: dict[str, _Mapping] = field(default_factory=dict)  # of the rows of each file, by its name
    stages: list[StageRow] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    held_out: list[HeldOutRow] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    by_class: list[ClassRow] = field(default_factory=list)
    cost: list[CostRow] = field(default_factory=list)
    samples: dict[str, tuple[Path, list[Sampled]]] = field(default_factory=dict)
    fields: FieldRow | None = None
    pixels: PixelsRow | None = None
    losses: dict[str, dict[str, Curve]] = field(default_factory=dict)  # by stage and name
    classifiers: dict[str, list[LevelRow]] = field(default_factory=dict)
    # Held-out measures of a classifier by the step of its training
    checks: dict[str, list[tuple[int, list[LevelRow]]]] = field(default_factory=dict)
    generators: dict[str, GeneratorLog] = field(default_factory=dict)
    neighbours: list[NeighbourRow] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return self == Run(self.folder, self.name, conditions=self.conditions)

    @property
    def seed(self) -> object:
        return self.settings.get("seed", 0)

    @cached_property
    def styles(self) -> dict[str, Style]:
        """How each method and classifier looks in every plot of this run."""
        methods = [row.method for rows in (self.metrics, self.cost, self.errors, self.held_out) for row in rows]
        return method_styles([*methods, *self.classifiers, *self.checks])


def read_run(folder: Path) -> Run:
    """Reads a run folder, or that of a single stage; a UserError names what is not there, or damaged."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the folder of a run, such as runs/digits")
    about, path = _read(folder / layout.RUN_FILE), folder / layout.RECIPE_FILE
    settings = read_yaml(path) if os.path.isfile(path) else {}
    names = (layout.CLASSIFIERS, layout.DIAGNOSTICS, layout.METRICS, layout.COST, layout.NEIGHBOURS)
    files = {name: _read(folder / name) for name in names}

    def rows(model: type[SettingsType], name: str, key: str = "rows") -> list[SettingsType]:
        return parse_rows(model, files[name].get(key, []), f"{folder / name}, {key}")

    on_grid, of_pixels = folder / layout.FIELD, folder / layout.PIXELS
    diagnostics = [row.root for row in rows(_DiagnosticRow, layout.DIAGNOSTICS)]
    run = Run(
        folder=folder,
        name=str(about.get("name") or settings.get("name") or folder.resolve().name),
        recipe=read_text(path) if settings else "",
        settings=settings,
        stages=parse_rows(StageRow, about.pop("stages", []), f"{folder / layout.RUN_FILE}, stages"),
        about=about,
        conditions={name: file.get("what") or {} for name, file in files.items()},
        errors=[row for row in diagnostics if isinstance(row, ErrorRow)],
        held_out=[row for row in diagnostics if isinstance(row, HeldOutRow)],
        metrics=rows(MetricRow, layout.METRICS),
        by_class=rows(ClassRow, layout.METRICS, "by_class"),
        cost=rows(CostRow, layout.COST),
        fields=parse(FieldRow, read_json(on_grid), str(on_grid)) if os.path.isfile(on_grid) else None,
        pixels=parse(PixelsRow, read_json(of_pixels), str(of_pixels)) if os.path.isfile(of_pixels) else None,
        neighbours=rows(NeighbourRow, layout.NEIGHBOURS),
    )
    _read_calibrations(run, rows(LevelRow, layout.CLASSIFIERS))
    manifests = {path.parent.name: path for path in sorted(folder.glob(f"{layout.SAMPLES_FOLDER}/*/{layout.MANIFEST}"))}
    measured = dict.fromkeys(row.method for rows in (run.metrics, run.cost) for row in rows)
    for method in measured or manifests:  # others are of earlier recipes
        if method in manifests:
            path = manifests[method]
            run.samples[method] = path.parent, parse_rows(Sampled, read_rows(path), str(path))
    logs = {path.parent.name: path for path in sorted(folder.glob(f"*/{layout.LOG_FILE}"))}
    for stage in [stage.folder for stage in run.stages if stage.folder] or logs:  # others are of earlier recipes
        if stage in logs:
            _read_log(run, stage, logs[stage])
    if (folder / layout.LOG_FILE).is_file():
        _read_log(run, folder.resolve().name, folder / layout.LOG_FILE)
    return run


def _read(path: Path) -> _Mapping:
    return read_json(path) if os.path.isfile(path) else {}


def _read_calibrations(run: Run, rows: list[LevelRow]) -> None:
    """Rows of a run's own file, or else of the calibrations in the folder or below it, with their conditions."""
    below = sorted(run.folder.glob(f"*/{layout.CALIBRATION_FOLDER}/{layout.CALIBRATION}"))
    for path in () if rows else (layout.calibration_file(run.folder), *below):
        owner = path.resolve().parent.parent.name
        if path.is_file() and ".before-" not in owner:
            file, name = _read(path), owner.removeprefix("classifier-")
            own = parse_rows(LevelRow, file.get("rows", []), f"{path}, rows")
            rows += [row.model_copy(update={"classifier": name}) for row in own]
            run.conditions[layout.CLASSIFIERS] = run.conditions[layout.CLASSIFIERS] or file.get("what") or {}
    for row in sorted(rows, key=lambda row: row.sigma):
        run.classifiers.setdefault(row.classifier, []).append(row)


def _read_log(run: Run, stage: str, path: Path) -> None:
    name = stage.removeprefix("classifier-").removeprefix("generator-")
    with blamed_on(path):
        rows = [row for row in read_rows(path) if isinstance(row.get("step"), int)]
        if losses := {key: curve for key in LOSSES if (curve := _curve(rows, key))}:
            run.losses[stage] = losses
        checks = [(row["step"], parse_rows(LevelRow, row["levels"], str(path))) for row in rows if "levels" in row]
        if checks:
            run.checks[name] = checks
        if previews := [{"step": row["step"], **row["preview"]} for row in rows if "preview" in row]:
            parsed = sorted(parse_rows(PreviewRow, previews, str(path)), key=lambda row: row.step)
            skipped = max((int(count) for _, count in _curve(rows, "skipped")), default=0)
            run.generators[name] = GeneratorLog(path.parent, parsed, skipped)


def _curve(rows: list[_Mapping], key: str) -> Curve:
    """Steps and values under a key, where they are numbers that can be drawn."""
    found = ((row["step"], row.get(key)) for row in rows)
    return sorted((step, float(y)) for step, y in found if isinstance(y, int | float) and math.isfinite(y))
