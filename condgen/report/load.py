"""A run folder in memory, every row checked. Whatever is absent stays empty."""

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from PIL import Image
from pydantic import BaseModel

from condgen.diagnostics.classifier_errors import LevelRow
from condgen.diagnostics.held_out import HeldOutRow
from condgen.diagnostics.score_errors import ErrorRow
from condgen.errors import UserError
from condgen.files import as_rgb, blamed_on, is_file, read_picture, read_text, within
from condgen.metrics import MetricRow
from condgen.recipes import read_yaml
from condgen.report.figures import Style, method_styles
from condgen.report.rows import (
    ClassRow,
    CostRow,
    DiagnosticRow,
    FieldRow,
    NeighbourRow,
    PreviewRow,
    SampleRow,
    StageRow,
)
from condgen.rows import parse_rows
from condgen.runs import layout, read_json, read_rows

Curve: TypeAlias = list[tuple[int, float]]
"""Steps, rising, and finite values."""

LOSSES = ("loss", "critic_real", "critic_fake", "real_dsm", "fake_dsm", "likelihood")
"""What logs call the loss of a stage and those of a generator's opponents."""

_Mapping: TypeAlias = dict[str, Any]
_R = TypeVar("_R", bound=BaseModel)


@dataclass(frozen=True)
class GeneratorLog:
    """A generator's training: the stage's folder, previews, at least one, and the number of skipped updates."""

    folder: Path
    previews: list[PreviewRow]
    skipped: int = 0

    @property
    def collapsed(self) -> bool:
        return self.previews[-1].collapsed


@dataclass(frozen=True)
class Run:
    """A run folder; images stay on disk until they are shown."""

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
    samples: dict[str, list[SampleRow]] = field(default_factory=dict)
    fields: FieldRow | None = None
    losses: dict[str, dict[str, Curve]] = field(default_factory=dict)  # by stage and name
    classifiers: dict[str, list[LevelRow]] = field(default_factory=dict)
    # Held-out measures of a classifier by the step of its training
    checks: dict[str, list[tuple[int, list[LevelRow]]]] = field(default_factory=dict)
    generators: dict[str, GeneratorLog] = field(default_factory=dict)
    neighbours: list[NeighbourRow] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not any(
            getattr(self, one.name) for one in fields(self) if one.name not in ("folder", "name", "conditions")
        )

    @cached_property
    def styles(self) -> dict[str, Style]:
        """How each method and classifier looks in every plot of this run."""
        methods = [row.method for rows in (self.metrics, self.cost, self.errors, self.held_out) for row in rows]
        return method_styles([*methods, *self.classifiers, *self.checks])

    @property
    def collapsed(self) -> dict[str, GeneratorLog]:
        return {name: log for name, log in self.generators.items() if log.collapsed}

    @property
    def collapsed_methods(self) -> set[str]:
        """Methods that draw from a generator that has collapsed."""
        methods = (self.settings.get("sample") or {}).get("methods") or {}
        uses = {name for name, method in methods.items() if (method or {}).get("generator") in self.collapsed}
        return uses | self.collapsed.keys()


def read_run(folder: Path) -> Run:
    """Reads a run folder, or that of a single stage.

    Raises:
        UserError: there is no such folder, or a file in it is not what its name says.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the folder of a run, such as runs/digits")
    about, path = _read(folder / layout.RUN_FILE), folder / layout.RECIPE_FILE
    settings = read_yaml(path) if is_file(path) else {}
    stages = parse_rows(StageRow, about.pop("stages", []), f"{folder / layout.RUN_FILE}, stages")
    conditions: dict[str, _Mapping] = {}

    def rows(file: str, model: type[_R], key: str = "rows") -> list[_R]:
        conditions[file], found = _read_rows(folder / file, model, key)
        return found

    field_file = _read(folder / layout.FIELD)
    on_grid = parse_rows(FieldRow, [field_file] if field_file else [], str(folder / layout.FIELD))
    conditions[layout.CLASSIFIERS], classifiers = _read_calibrations(folder)
    diagnostics = rows(layout.DIAGNOSTICS, DiagnosticRow)
    run = Run(
        folder=folder,
        name=str(about.get("name") or settings.get("name") or folder.resolve().name),
        recipe=read_text(path) if settings else "",
        settings=settings,
        about=about,
        conditions=conditions,
        stages=stages,
        errors=[row.root for row in diagnostics if isinstance(row.root, ErrorRow)],
        held_out=[row.root for row in diagnostics if isinstance(row.root, HeldOutRow)],
        metrics=rows(layout.METRICS, MetricRow),
        by_class=rows(layout.METRICS, ClassRow, "by_class"),
        cost=rows(layout.COST, CostRow),
        fields=on_grid[0] if on_grid else None,
        classifiers=classifiers,
        neighbours=rows(layout.NEIGHBOURS, NeighbourRow),
    )
    manifests = {path.parent.name: path for path in sorted(folder.glob(f"{layout.SAMPLES_FOLDER}/*/{layout.MANIFEST}"))}
    measured = dict.fromkeys([row.method for row in run.metrics] + [row.method for row in run.cost])
    for method in measured or manifests:  # others are of earlier recipes
        if method in manifests:
            run.samples[method] = parse_rows(SampleRow, read_rows(manifests[method]), str(manifests[method]))
    _read_logs(run)
    return run


def _read(path: Path) -> _Mapping:
    return read_json(path) if is_file(path) else {}


def _read_rows(path: Path, model: type[_R], key: str = "rows") -> tuple[_Mapping, list[_R]]:
    file = _read(path)
    return file.get("what") or {}, parse_rows(model, file.get(key, []), f"{path}, {key}")


def open_picture(folder: Path, name: str) -> Image.Image:
    """A picture that a file in a folder names, in RGB.

    Raises:
        UserError: it is gone, is no picture, or lies outside the folder.
    """
    path = within(folder, name)
    with blamed_on(path, OSError):
        return as_rgb(read_picture(path))


def _read_calibrations(folder: Path) -> tuple[_Mapping, dict[str, list[LevelRow]]]:
    """Conditions and rows of calibrated classifiers: a run's own file, else those of the folder or below it."""
    what, rows = _read_rows(folder / layout.CLASSIFIERS, LevelRow)
    out: dict[str, list[LevelRow]] = {}
    for row in rows:
        out.setdefault(row.classifier, []).append(row)
    below = sorted(folder.glob(f"*/{layout.CALIBRATION_FOLDER}/{layout.CALIBRATION}"))
    for path in () if rows else (layout.calibration_file(folder), *below):
        owner = path.resolve().parent.parent.name
        if path.is_file() and ".before-" not in owner:
            own, rows = _read_rows(path, LevelRow)
            what, out[owner.removeprefix("classifier-")] = what or own, rows
    return what, {name: sorted(found, key=lambda row: row.sigma) for name, found in out.items()}


def _read_logs(run: Run) -> None:
    """Losses, measures of classifiers, and generators, from the logs of the stages in their order."""
    paths = {path.parent.name: path for path in sorted(run.folder.glob(f"*/{layout.LOG_FILE}"))}
    if order := [stage.folder for stage in run.stages if stage.folder]:  # others are of earlier recipes
        paths = {name: paths[name] for name in order if name in paths}
    if (run.folder / layout.LOG_FILE).is_file():
        paths["training"] = run.folder / layout.LOG_FILE
    for stage, path in paths.items():
        with blamed_on(path):
            _read_log(run, stage, path)


def _read_log(run: Run, stage: str, path: Path) -> None:
    owner = run.folder.resolve().name if stage == "training" else stage
    name = owner.removeprefix("classifier-").removeprefix("generator-")
    rows = [row for row in read_rows(path) if isinstance(row.get("step"), int)]
    if losses := {key: curve for key in LOSSES if (curve := _curve(rows, key))}:
        run.losses[stage] = losses
    checks = [(row["step"], parse_rows(LevelRow, row["levels"], str(path))) for row in rows if "levels" in row]
    if checks:
        run.checks[name] = checks
    previews = [{"step": row["step"], **row["preview"]} for row in rows if "preview" in row]
    if previews:
        parsed = sorted(parse_rows(PreviewRow, previews, str(path)), key=lambda row: row.step)
        skipped = max((int(count) for _, count in _curve(rows, "skipped")), default=0)
        run.generators[name] = GeneratorLog(path.parent, parsed, skipped)


def _curve(rows: list[_Mapping], key: str) -> Curve:
    """Steps and values under a key, where they are numbers that can be drawn."""
    found = ((row["step"], row.get(key)) for row in rows)
    return sorted(
        (step, float(value)) for step, value in found if isinstance(value, int | float) and math.isfinite(value)
    )
