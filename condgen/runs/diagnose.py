"""The stage that measures models: `diagnostics.json`, from their scores and those of an exact oracle."""

from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path

import torch

from condgen.checkpoint import MODEL_FILE
from condgen.data import LabelledSet
from condgen.denoiser import Denoiser, Likelihood
from condgen.diagnostics.score_errors import (
    ErrorRow,
    ScoreErrors,
    draw_queries,
    grid_queries,
    likelihood_fields,
    measure,
    measure_levels,
    summarise,
)
from condgen.errors import UserError
from condgen.guidance import ClassifierGuided
from condgen.losses import classifier_loss
from condgen.oracle import Oracle
from condgen.recipes import DiagnoseStage, Guidance, content_key, read_yaml
from condgen.rng import keyed_generator
from condgen.runs.folder import file_key, write_json
from condgen.runs.layout import DIAGNOSTICS, FIELD, RECIPE_FILE, calibration_file
from condgen.runs.models import Folders, check_fits, check_levels, open_guided
from condgen.runs.stage import Progress, Work, open_stage
from condgen.score import ScoreModel
from condgen.training import Processes

__all__ = ["default_methods", "default_methods_in", "diagnose_stage", "diagnosis_key", "open_methods"]


def default_methods(scales: Mapping[str, Sequence[float]], calibrated: Collection[str]) -> dict[str, Guidance]:
    """What is diagnosed by default: every classifier at each of its scales, and at its calibrated one.

    Args:
        scales: the constant scales of every classifier that are usual for its loss, by its name.
        calibrated: the classifiers that have a calibration.
    """
    methods: dict[str, Guidance] = {}
    for name, usual in scales.items():
        for scale in usual:
            methods[name if scale == 1 else f"{name} x{scale:g}"] = Guidance(classifier=name, scale=scale)
        if name in calibrated:
            methods[f"{name}, calibrated"] = Guidance(classifier=name, scale="calibrated")
    return methods


def default_methods_in(classifiers: Mapping[str, Path]) -> dict[str, Guidance]:
    """The same for the classifiers in run folders, by name."""
    scales: dict[str, Sequence[float]] = {}
    for name, folder in classifiers.items():
        path = folder / RECIPE_FILE
        trained = read_yaml(path).get("classifier", {}) if path.exists() else {}
        known = "objective" in trained
        scales[name] = classifier_loss(trained["objective"], str(path)).usual_scales if known else (1.0,)
    return default_methods(scales, [name for name, folder in classifiers.items() if calibration_file(folder).exists()])


def diagnosis_key(stage: DiagnoseStage, folders: Folders, train: LabelledSet) -> str:
    """The content hash of everything that the errors depend on."""
    models = {name: folders.models(guidance) for name, guidance in stage.methods.items()}
    keys = [part for name, guidance in stage.methods.items() for part in (name, *models[name].keys(guidance))]
    return content_key(stage, train.fingerprint(), file_key(folders.score / MODEL_FILE), *keys)


def diagnose_stage(
    folder: Path, stage: DiagnoseStage, folders: Folders, train: LabelledSet, processes: Processes
) -> Work:
    """Compares the methods' scores with those of the training set's own oracle, and writes `diagnostics.json`.

    Each process takes its share of the queries. An error depends on its own query alone, so that, up to rounding, the
    figures are those of one process.
    """
    settings, device = stage.diagnose, processes.device
    key = processes.once(lambda: diagnosis_key(stage, folders, train))
    prior = ScoreModel.load(folders.score, device)
    check_fits(folders.score, prior.config, train, train.source)
    prior.require_unconditional(folders.score, "which is the prior here")
    methods, likelihoods = open_methods(stage, folders, prior, device)
    check_levels(settings.levels, prior.schedule)
    if settings.grid is not None and train.shape != (2,):
        raise UserError(f"diagnose.grid is for points in the plane, which {train.source} does not hold: leave it out")
    opened = open_stage("diagnose", folder, key, stage, processes)
    if opened.finished:
        return
    yield from opened.start()
    oracle = Oracle(prior.schedule, train.x, train.y, train.n_classes).to(device)

    rows = yield from _on_data(stage, oracle, prior, methods, processes)
    if settings.grid is not None:
        rows += yield from _on_grid(stage, oracle, prior, methods, processes)
        if processes.is_main:
            _write_field(folder / FIELD, stage, oracle, likelihoods, train)
    what = {
        "data": train.source,
        "oracle": f"the {len(train):,} training {'images' if train.is_images else 'points'} themselves, noised",
        "schedule": prior.schedule.model_dump(mode="json"),
        "queries per noise level": settings.queries,
        "seed": settings.seed,
        "methods": {name: guidance.in_words() for name, guidance in stage.methods.items()},
    }
    if processes.is_main:
        write_json(folder / DIAGNOSTICS, {"what": what, "rows": [row.as_dict() for row in rows]})
        opened.finish([DIAGNOSTICS], what=f"{len(settings.levels)} noise levels, {settings.queries:,} queries each")
    processes.wait()
    yield Progress("diagnose", 1, 1, 0)


def _on_data(
    stage: DiagnoseStage, oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], processes: Processes
) -> Generator[Progress, None, list[ErrorRow]]:
    """Errors on noised data: the same images and noise at every level, a few of them at all levels at a time."""
    settings = stage.diagnose
    share = _share(processes, settings.queries)
    queries = draw_queries(oracle, settings.queries, keyed_generator(settings.seed)).at(share)
    found: list[list[ScoreErrors]] = [[] for _ in settings.levels]
    done, total = 0, len(queries.y) * len(settings.levels)
    for start in range(0, len(queries.y), oracle.at_once):
        few = queries.at(slice(start, start + oracle.at_once))
        yield Progress("diagnose", done, total, done, f"noise level {settings.levels[0]:g}")
        measured = measure_levels(oracle, prior, methods, settings.levels, few)
        for level, parts, part in zip(settings.levels, found, measured, strict=True):
            parts.append(part)
            done += len(few.y)
            yield Progress("diagnose", done, total, done, f"noise level {level:g}")
    return [
        row
        for level, parts in zip(settings.levels, found, strict=True)
        for row in summarise(level, "data", _gather(ScoreErrors.join(parts), settings.queries, processes))
    ]


def _on_grid(
    stage: DiagnoseStage, oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], processes: Processes
) -> Generator[Progress, None, list[ErrorRow]]:
    """Errors on the points of the grid."""
    grid = stage.diagnose.grid
    assert grid is not None
    rows: list[ErrorRow] = []
    for done, level in enumerate(grid.levels):
        yield Progress("diagnose", done, len(grid.levels), 0, f"grid at noise level {level:g}")
        t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, level)
        share = _share(processes, len(y))
        measured = measure(oracle, prior, methods, t, x_t[share], y[share])
        rows += summarise(level, "grid", _gather(measured, len(y), processes))
    return rows


def _share(processes: Processes, total: int) -> slice:
    """This process's share of the queries, or one of another's where there are fewer queries than processes."""
    rows = processes.rows(total)
    return slice(rows.start, max(rows.stop, rows.start + 1))


def _gather(measured: ScoreErrors, total: int, processes: Processes) -> ScoreErrors:
    rows = processes.rows(total)
    return measured.each(lambda part: processes.gather_rows(part[: rows.stop - rows.start], total))


def open_methods(
    stage: DiagnoseStage, folders: Folders, prior: ScoreModel, device: torch.device
) -> tuple[dict[str, Denoiser], dict[str, Likelihood]]:
    """The denoisers of all methods, which share what they have in common, and the classifiers among them."""
    methods: dict[str, Denoiser] = {}
    likelihoods: dict[str, Likelihood] = {}
    for name, guidance in stage.methods.items():
        denoiser, score = open_guided(guidance, folders.models(guidance), device)
        check_fits(folders.models(guidance).score or folders.score, score.config, prior.config, folders.score)
        if isinstance(denoiser, ClassifierGuided) and guidance.classifier is not None:
            if guidance.score is None:
                denoiser.denoiser = prior
            denoiser.likelihood = likelihoods.setdefault(guidance.classifier, denoiser.likelihood)
        methods[name] = denoiser
    return methods, likelihoods


def _write_field(
    path: Path, stage: DiagnoseStage, oracle: Oracle, likelihoods: Mapping[str, Likelihood], train: LabelledSet
) -> None:
    """The likelihood scores on the grid at its first noise level, for the quiver plots."""
    grid = stage.diagnose.grid
    assert grid is not None
    level = grid.levels[0]
    t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, level)
    fields = likelihood_fields(oracle, likelihoods, t, x_t, y)
    shown = torch.randperm(len(train), generator=keyed_generator(stage.diagnose.seed))[:400]
    value = {
        "sigma": level,
        "x": torch.linspace(*grid.x, grid.points).tolist(),
        "y": torch.linspace(*grid.y, grid.points).tolist(),
        "points": train.floats(shown).tolist(),
        "labels": train.y[shown].tolist(),
        "names": list(train.names),
        "fields": {name: (field * 1e6).round().div(1e6).tolist() for name, field in fields.items()},
    }
    write_json(path, value)
