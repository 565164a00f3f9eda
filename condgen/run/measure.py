"""The measuring stages: `metrics.json` from samples, `diagnostics.json` from models and an exact oracle."""

from collections.abc import Mapping
from pathlib import Path

import torch

from condgen.bayes import Likelihood
from condgen.classifier import Classifier
from condgen.data import LabelledSet
from condgen.diagnostics.score_errors import (
    ErrorRow,
    Measured,
    best_constant_scale,
    data_queries,
    grid_queries,
    likelihood_fields,
    measure,
    summarise,
)
from condgen.errors import UserError
from condgen.metrics import evaluate
from condgen.oracle import Oracle
from condgen.recipe import DiagnoseStage, EvaluateStage, content_key
from condgen.rng import keyed_generator
from condgen.run.folder import Progress, Work, file_key, open_stage, write_json
from condgen.run.sample import MANIFEST, read_samples
from condgen.score import ScoreModel
from condgen.weights import MODEL_FILE

__all__ = ["DIAGNOSTICS", "FIELD", "METRICS", "diagnose_stage", "evaluate_stage"]

METRICS, DIAGNOSTICS, FIELD = "metrics.json", "diagnostics.json", "field.json"


def evaluate_stage(
    folder: Path, stage: EvaluateStage, samples: Mapping[str, Path], train: LabelledSet, test: LabelledSet
) -> Work:
    """Compares folders of samples with real data, and writes `metrics.json`."""
    keys = [part for name, path in samples.items() for part in (name, file_key(path / MANIFEST))]
    methods = {name: read_samples(path) for name, path in samples.items()}
    for name, (x, _) in methods.items():
        if tuple(x.shape[1:]) != train.shape:
            raise UserError(f"samples {name!r} have shape {tuple(x.shape[1:])}, but {train.source} has {train.shape}")
    opened = open_stage("evaluate", folder, content_key(stage, train.fingerprint(), test.fingerprint(), *keys), stage)
    if opened.finished:
        return
    yield from opened.start()
    for name, (_, y) in methods.items():
        seen = len(y.unique())
        if seen < train.n_classes:
            text = f"{name} has samples of {seen} of {train.n_classes} classes; distances and floors are to all of them"
            yield Progress("evaluate", 0, 1, 0, message=text)
    yield Progress("evaluate", 0, 1, 0)
    rows = evaluate(methods, train, test, stage.seed)
    n = {name: len(y) for name, (_, y) in methods.items()}
    what = {
        "data": train.source,
        "reference": f"{len(train):,} training images" if train.is_images else f"{len(train):,} training points",
        "held out": len(test),
        "samples": n,
        "seed": stage.seed,
    }
    write_json(folder / METRICS, {"what": what, "rows": [row.as_dict() for row in rows]})
    opened.finish([METRICS], what=f"{sum(n.values()):,} samples against {len(train):,} real ones")
    yield Progress("evaluate", 1, 1, 0)


def diagnose_stage(
    folder: Path,
    stage: DiagnoseStage,
    score: Path,
    classifiers: Mapping[str, Path],
    train: LabelledSet,
    device: torch.device,
) -> Work:
    """Compares the models' scores with those of the training set's own oracle, and writes `diagnostics.json`."""
    if not classifiers:
        raise UserError("nothing to diagnose: name at least one classifier")
    keys = [part for name, path in classifiers.items() for part in (name, file_key(path / MODEL_FILE))]
    key = content_key(stage, train.fingerprint(), file_key(score / MODEL_FILE), *keys)
    settings = stage.diagnose
    prior = ScoreModel.load(score, device)
    likelihoods: dict[str, Likelihood] = {name: Classifier.load(path, device) for name, path in classifiers.items()}
    for name, likelihood in likelihoods.items():
        if likelihood.schedule != prior.schedule:
            raise UserError(f"classifier {name!r} and the score model stand on different schedules: use one recipe")
    if prior.config.shape != train.shape:
        raise UserError(f"{score} was trained on {prior.config.shape}, but {train.source} has {train.shape}")
    low, high = prior.schedule.noise_range
    outside = [level for level in settings.levels if not low <= level <= high * (1 + 1e-12)]
    if outside:
        raise UserError(f"noise level {outside[0]:g} is outside the schedule's range, {low:g} to {high:g}")
    if settings.grid is not None and train.shape != (2,):
        raise UserError(f"diagnose.grid is for points in the plane, which {train.source} does not hold: leave it out")
    opened = open_stage("diagnose", folder, key, stage)
    if opened.finished:
        return
    yield from opened.start()
    oracle = Oracle(prior.schedule, train.floats(), train.y, train.n_classes).to(device)

    total = len(settings.levels) + (len(settings.grid.levels) if settings.grid else 0)
    by_level: list[dict[str, Measured]] = []
    for done, level in enumerate(settings.levels):
        yield Progress("diagnose", done, total, done * settings.queries, f"noise level {level:g}")
        generator = keyed_generator(settings.seed)  # the same images and noise at every level
        queries = data_queries(oracle, settings.queries, level, generator)
        by_level.append(measure(oracle, prior, likelihoods, *queries))
    scales = {name: (name, 1.0) for name in likelihoods}
    constants = {
        name: best_constant_scale(settings.levels, [measured[name] for measured in by_level])
        for name in likelihoods
        if name in stage.rescaled
    }
    scales |= {f"{name}, best constant scale": (name, scale) for name, scale in constants.items()}
    rows: list[ErrorRow] = []
    for level, measured in zip(settings.levels, by_level, strict=True):
        rows += summarise(level, "data", measured, scales)
    if settings.grid is not None:
        for done, level in enumerate(settings.grid.levels, start=len(settings.levels)):
            yield Progress("diagnose", done, total, 0, f"grid at noise level {level:g}")
            grid = settings.grid
            queries = grid_queries(oracle, grid.x, grid.y, grid.points, level)
            rows += summarise(level, "grid", measure(oracle, prior, likelihoods, *queries), scales)
        _write_field(folder / FIELD, stage, oracle, likelihoods, train)
    scale_text = "best constant scale (least sigma^2-weighted D_P over all levels, on these queries)"
    what = {
        "data": train.source,
        "oracle": f"the {len(train):,} training {'images' if train.is_images else 'points'} themselves, noised",
        "schedule": prior.schedule.model_dump(mode="json"),
        "queries per noise level": settings.queries,
        "seed": settings.seed,
        scale_text: {name: round(scale, 4) for name, scale in constants.items()},
    }
    write_json(folder / DIAGNOSTICS, {"what": what, "rows": [row.as_dict() for row in rows]})
    opened.finish([DIAGNOSTICS], what=f"{len(settings.levels)} noise levels, {settings.queries:,} queries each")
    yield Progress("diagnose", total, total, 0)


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
