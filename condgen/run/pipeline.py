"""A whole recipe: train, sample, evaluate, diagnose, each in its own folder below the run's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from condgen.data import load
from condgen.errors import UserError
from condgen.recipe import (
    CalibrateStage,
    ClassifierStage,
    DiagnoseStage,
    EvaluateStage,
    GeneratorStage,
    Recipe,
    SampleStage,
    ScoreStage,
    to_yaml,
)
from condgen.run.calibrate import CALIBRATION_FOLDER, CLASSIFIERS, calibrate_stage, gather_calibrations
from condgen.run.environment import describe_environment
from condgen.run.evaluate import METRICS, NEIGHBOURS, evaluate_stage, neighbours_below
from condgen.run.folder import RECIPE_FILE, STAGE_FILE, Work, read_json, refuse_foreign_files, write_json
from condgen.run.guided import Folders, Models
from condgen.run.measure import DIAGNOSTICS, FIELD, default_methods, diagnose_stage
from condgen.run.sample import sample_stage
from condgen.run.train import train_stage
from condgen.run.trajectories import TRAJECTORIES_FOLDER, trajectory_stage
from condgen.training import Processes
from condgen.weights import write_atomically

__all__ = ["POINTS_SHOWN", "run_recipe"]

RUN_FILE, COST_FILE = "run.json", "cost.json"
POINTS_SHOWN = 12  # on their way from noise, of a class: many paths in a plane can be seen at once, images cannot


def run_recipe(recipe: Recipe, folder: Path, processes: Processes, command: str) -> Work:
    """Runs every stage of a recipe that is not finished yet.

    Writes `recipe.yaml`, `run.json`, `cost.json`, and copies of `metrics.json`, `diagnostics.json` and, in one file, of
    all calibrations at the top.
    """
    if (folder / STAGE_FILE).exists():
        raise UserError(f"{folder} is the folder of a single stage: choose another one with --out")
    if not (folder / RUN_FILE).exists():
        refuse_foreign_files(folder)
    train, test = load(recipe.data, "train"), load(recipe.data, "test")
    train = train.to(processes.device)
    for copy in (
        METRICS,
        NEIGHBOURS,
        DIAGNOSTICS,
        FIELD,
        COST_FILE,
        CLASSIFIERS,
    ):  # of an earlier recipe, perhaps; made anew below
        (folder / copy).unlink(missing_ok=True)
    about = _about(recipe, folder, command)
    stages: list[tuple[str, Path]] = []
    _write_about(folder, about, stages)  # before anything else: it marks the folder as a run's
    write_atomically(folder / RECIPE_FILE, to_yaml(recipe).encode())

    def stage(name: str, place: Path, work: Work) -> Work:
        stages.append((name, place))
        yield from work
        _write_about(folder, about, stages)

    score = folder / "score"
    settings: dict[str, Any] = {"data": recipe.data, "schedule": recipe.schedule, "seed": recipe.seed}
    score_stage = ScoreStage(**settings, score=recipe.score)
    yield from stage("score", score, train_stage("score", score, score_stage, train, processes))
    scores: dict[str, Path] = {}
    for name, further in recipe.scores.items():
        place = scores[name] = folder / f"score-{name}"
        title = f"score {name}"
        score_stage = ScoreStage(**settings, score=further)
        yield from stage(title, place, train_stage(title, place, score_stage, train, processes))

    classifiers: dict[str, Path] = {}
    for name, classifier in recipe.classifiers.items():
        place = classifiers[name] = folder / f"classifier-{name}"
        classifier_stage = ClassifierStage(**settings, classifier=classifier)
        title = f"classifier {name}"
        yield from stage(
            title, place, train_stage(title, place, classifier_stage, train, processes, Models(score), test)
        )
        if recipe.calibrate is not None:
            title = f"calibrate {name}"
            calibration = CalibrateStage(calibrate=recipe.calibrate)
            work = calibrate_stage(title, calibration, place, score, test, processes.device)
            yield from stage(title, place / CALIBRATION_FOLDER, work)
    if recipe.calibrate is not None and classifiers:
        write_json(folder / CLASSIFIERS, gather_calibrations(classifiers))

    generators = {name: folder / f"generator-{name}" for name in recipe.generators}
    folders = Folders(score, scores, classifiers, generators)
    for name, generator in recipe.generators.items():
        title, place = f"generator {name}", generators[name]
        generator_stage = GeneratorStage(**settings, generator=generator)
        built_on = folders.taught_by(generator)
        yield from stage(title, place, train_stage(title, place, generator_stage, train, processes, built_on, test))

    samples: dict[str, Path] = {}
    if recipe.sample is not None:
        labels = tuple(label for label in range(train.n_classes) for _ in range(recipe.sample.per_class))
        for name, method in recipe.sample.methods.items():
            place = samples[name] = folder / "samples" / name
            about_all = recipe.sample.model_dump(include={"seed", "batch", "compile"})
            sample = SampleStage(method=method, labels=labels, **about_all)
            title = f"sample {name}"
            yield from stage(title, place, sample_stage(title, place, sample, folders.models(method), processes.device))
        write_json(folder / COST_FILE, {"rows": _cost(recipe, samples)})
        shown = recipe.sample.trajectory_stage(train.n_classes, 1 if train.is_images else POINTS_SHOWN)
        if shown is not None:
            many = {name: folders.models(method) for name, method in shown.methods.items()}
            place = folder / TRAJECTORIES_FOLDER
            yield from stage("trajectories", place, trajectory_stage(place, shown, many, processes.device))

    if samples and recipe.evaluate is not None:
        place, evaluate = folder / "evaluation", EvaluateStage(seed=recipe.seed, measures=recipe.evaluate)
        work = evaluate_stage(place, evaluate, samples, train.to("cpu"), test, processes.device)
        yield from stage("evaluate", place, work)
        write_json(folder / METRICS, read_json(place / METRICS))
        write_json(folder / NEIGHBOURS, neighbours_below(folder, place))
    methods = default_methods(classifiers, calibrated=recipe.calibrate is not None)
    methods = (recipe.diagnose.methods if recipe.diagnose else {}) or methods
    if recipe.diagnose is not None and methods:
        place = folder / "diagnosis"
        diagnose = DiagnoseStage(diagnose=recipe.diagnose, methods=methods)
        yield from stage("diagnose", place, diagnose_stage(place, diagnose, folders, train, processes))
        for file in (DIAGNOSTICS, FIELD):
            if (place / file).exists():
                write_json(folder / file, read_json(place / file))


def _about(recipe: Recipe, folder: Path, command: str) -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if (folder / RUN_FILE).exists():
        started = read_json(folder / RUN_FILE).get("started", started)
    return {"name": recipe.name, **describe_environment(), "started": started, "command": command}


def _write_about(folder: Path, about: dict[str, Any], stages: list[tuple[str, Path]]) -> None:
    records = [(name, place, read_json(place / STAGE_FILE)) for name, place in stages]
    rows = [
        {"stage": name, "folder": str(place.relative_to(folder)), "seconds": r["seconds"], "what": r.get("what", "")}
        for name, place, r in records
    ]
    write_json(folder / RUN_FILE, about | {"stages": rows})


def _cost(recipe: Recipe, samples: dict[str, Path]) -> list[dict[str, Any]]:
    assert recipe.sample is not None
    rows = []
    for name, place in samples.items():
        record, method = read_json(place / STAGE_FILE), recipe.sample.methods[name]
        guided = method.classifier is not None or method.guide is not None
        rows.append(
            {
                "method": name,
                "images": record["images"],
                "seconds": record["drawing_seconds"],
                "images_per_second": record["images_per_second"],
                "evaluations_per_image": record["evaluations_per_image"],
                "sampler": "one step" if method.generator is not None else method.sampler,
                "steps": 1 if method.generator is not None else record.get("steps"),
                "guide": None if method.generator is not None else method.in_words(),
                "scale": method.scale if guided and method.scale != "calibrated" else None,
            }
        )
    return rows
