"""A whole recipe: train, sample, evaluate, diagnose, each in its own folder below the run's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from condgen.data import LabelledSet, load
from condgen.errors import UserError
from condgen.files import write_atomically
from condgen.metrics import open_extractor
from condgen.recipes import (
    CalibrateStage,
    ClassifierStage,
    DiagnoseStage,
    EvaluateStage,
    GeneratorStage,
    Recipe,
    SampleRecipe,
    SampleStage,
    ScoreStage,
    TrajectoryStage,
    to_yaml,
)
from condgen.runs.calibrate import calibrate_stage, gather_calibrations
from condgen.runs.diagnose import default_methods, diagnose_stage
from condgen.runs.environment import describe_environment
from condgen.runs.evaluate import evaluate_stage, neighbours_below
from condgen.runs.folder import Work, in_main, read_json, refuse_foreign_files, write_json
from condgen.runs.guided import Folders, Models
from condgen.runs.layout import (
    CALIBRATION_FOLDER,
    CLASSIFIERS,
    COST,
    DIAGNOSIS_FOLDER,
    DIAGNOSTICS,
    EVALUATION_FOLDER,
    FIELD,
    METRICS,
    NEIGHBOURS,
    RECIPE_FILE,
    RUN_FILE,
    STAGE_FILE,
    TRAJECTORIES_FOLDER,
    classifier_folder,
    generator_folder,
    samples_folder,
    score_folder,
)
from condgen.runs.sample import sample_stage
from condgen.runs.train import train_stage
from condgen.runs.trajectories import trajectory_stage
from condgen.training import Processes

__all__ = ["run_recipe", "trajectories_of"]

_POINTS_SHOWN = 12  # on their way from noise, of a class: many paths in a plane can be seen at once, images cannot


def run_recipe(recipe: Recipe, folder: Path, processes: Processes, command: str) -> Work:
    """Runs every stage of a recipe that is not finished yet.

    Writes `recipe.yaml`, `run.json`, `cost.json`, and copies of `metrics.json`, `diagnostics.json` and, in one file, of
    all calibrations at the top.
    """
    train, test = processes.in_turn(lambda: (load(recipe.data, "train"), load(recipe.data, "test")))
    if recipe.sample is not None and recipe.evaluate is not None:  # what is missing is said now, not after the training
        features = recipe.evaluate.features
        processes.in_turn(lambda: open_extractor(features, train.shape))
    train = train.to(processes.device)
    top = _Top(recipe, folder, processes, command)
    processes.once(top.begin)

    def stage(name: str, place: Path, work: Work) -> Work:
        yield from work
        processes.once(lambda: top.note(name, place))

    score = score_folder(folder)
    settings: dict[str, Any] = {"data": recipe.data, "schedule": recipe.schedule, "seed": recipe.seed}
    score_stage = ScoreStage(**settings, score=recipe.score)
    yield from stage("score", score, train_stage("score", score, score_stage, train, processes))
    scores: dict[str, Path] = {}
    for name, further in recipe.scores.items():
        place = scores[name] = score_folder(folder, name)
        title = f"score {name}"
        score_stage = ScoreStage(**settings, score=further)
        yield from stage(title, place, train_stage(title, place, score_stage, train, processes))

    classifiers: dict[str, Path] = {}
    for name, classifier in recipe.classifiers.items():
        place = classifiers[name] = classifier_folder(folder, name)
        classifier_stage = ClassifierStage(**settings, classifier=classifier)
        title = f"classifier {name}"
        yield from stage(
            title, place, train_stage(title, place, classifier_stage, train, processes, Models(score), test)
        )
        if recipe.calibrate is not None:
            title = f"calibrate {name}"
            calibration = CalibrateStage(calibrate=recipe.calibrate)
            work = calibrate_stage(title, calibration, place, score, test, processes.device)
            yield from stage(title, place / CALIBRATION_FOLDER, in_main(processes, work))
    if recipe.calibrate is not None and classifiers:
        processes.once(lambda: write_json(folder / CLASSIFIERS, gather_calibrations(classifiers)))

    generators = {name: generator_folder(folder, name) for name in recipe.generators}
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
            place = samples[name] = samples_folder(folder, name)
            about_all = recipe.sample.model_dump(include={"seed", "batch", "compile"})
            sample = SampleStage(method=method, labels=labels, **about_all)
            title = f"sample {name}"
            yield from stage(title, place, sample_stage(title, place, sample, folders.models(method), processes))
        processes.once(lambda: write_json(folder / COST, {"rows": _cost(recipe, samples)}))
        shown = trajectories_of(recipe.sample, train)
        if shown is not None:
            many = {name: folders.models(method) for name, method in shown.methods.items()}
            place = folder / TRAJECTORIES_FOLDER
            work = trajectory_stage(place, shown, many, processes.device)
            yield from stage("trajectories", place, in_main(processes, work))

    if samples and recipe.evaluate is not None:
        place, evaluate = folder / EVALUATION_FOLDER, EvaluateStage(seed=recipe.seed, measures=recipe.evaluate)
        work = evaluate_stage(place, evaluate, samples, train.to("cpu"), test, processes)
        yield from stage("evaluate", place, work)
        processes.once(lambda: top.copy_evaluation(place))
    if recipe.diagnose is not None:
        calibrated = recipe.calibrate is not None
        methods = recipe.diagnose.methods or processes.once(lambda: default_methods(classifiers, calibrated=calibrated))
        if methods:
            place = folder / DIAGNOSIS_FOLDER
            diagnose = DiagnoseStage(diagnose=recipe.diagnose, methods=methods)
            yield from stage("diagnose", place, diagnose_stage(place, diagnose, folders, train, processes))
            processes.once(lambda: top.copy_diagnosis(place))


def trajectories_of(recipe: SampleRecipe, data: LabelledSet) -> TrajectoryStage | None:
    """The first samples of the first few classes, by the methods of many steps; None where there are none."""
    many = {name: method for name, method in recipe.methods.items() if method.generator is None}
    if not many or not recipe.trajectories:
        return None
    each = min(1 if data.is_images else _POINTS_SHOWN, recipe.per_class)
    labels = tuple(label for label in range(min(recipe.trajectories, data.n_classes)) for _ in range(each))
    seeds = tuple(recipe.seed + label * recipe.per_class + i % each for i, label in enumerate(labels))
    return TrajectoryStage(methods=many, labels=labels, seeds=seeds)


class _Top:
    """The files at the top of a run: what it is, and copies of what its stages have found. Process 0 writes them."""

    def __init__(self, recipe: Recipe, folder: Path, processes: Processes, command: str) -> None:
        self.recipe, self.folder, self.command, self.processes = recipe, folder, command, processes
        self.about: dict[str, Any] = {}
        self.stages: list[tuple[str, Path]] = []

    def begin(self) -> None:
        """Marks the folder as that of a run, and drops what may be of an earlier recipe; it is made anew."""
        if (self.folder / STAGE_FILE).exists():
            raise UserError(f"{self.folder} is the folder of a single stage: choose another one with --out")
        if not (self.folder / RUN_FILE).exists():
            refuse_foreign_files(self.folder)
        for copy in (METRICS, NEIGHBOURS, DIAGNOSTICS, FIELD, COST, CLASSIFIERS):
            (self.folder / copy).unlink(missing_ok=True)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        if (self.folder / RUN_FILE).exists():
            started = read_json(self.folder / RUN_FILE).get("started", started)
        name, count = self.recipe.name, self.processes.count
        many = {"processes": count} if count > 1 else {}
        self.about = {"name": name, **describe_environment(), **many, "started": started, "command": self.command}
        self._write()  # before anything else
        write_atomically(self.folder / RECIPE_FILE, to_yaml(self.recipe).encode())

    def note(self, name: str, place: Path) -> None:
        """Adds a stage that is finished."""
        self.stages.append((name, place))
        self._write()

    def copy_evaluation(self, place: Path) -> None:
        """Takes over figures, and the pictures' paths as they are from here."""
        write_json(self.folder / METRICS, read_json(place / METRICS))
        write_json(self.folder / NEIGHBOURS, neighbours_below(self.folder, place))

    def copy_diagnosis(self, place: Path) -> None:
        """Takes over score errors."""
        for file in (DIAGNOSTICS, FIELD):
            if (place / file).exists():
                write_json(self.folder / file, read_json(place / file))

    def _write(self) -> None:
        records = [(name, place, read_json(place / STAGE_FILE)) for name, place in self.stages]
        rows = [
            {
                "stage": name,
                "folder": str(place.relative_to(self.folder)),
                "seconds": record["seconds"],
                "what": record.get("what", ""),
            }
            for name, place, record in records
        ]
        write_json(self.folder / RUN_FILE, self.about | {"stages": rows})


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
