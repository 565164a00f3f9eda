"""A recipe as a list of stages, and the run that works through them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from condgen.checkpoint import trusted_imports
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
    Guidance,
    Recipe,
    SampleRecipe,
    SampleStage,
    ScoreStage,
    TrainStage,
    TrajectoryStage,
    labels_spread,
    to_yaml,
)
from condgen.runs.calibrate import LEVELS, calibrate_stage, calibration_key, gather_calibrations
from condgen.runs.diagnose import default_methods, diagnose_stage, diagnosis_key
from condgen.runs.environment import describe_environment
from condgen.runs.evaluate import evaluate_stage, evaluation_key, neighbours_below
from condgen.runs.folder import read_json, write_json
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
    calibration_file,
    classifier_folder,
    generator_folder,
    samples_folder,
    score_folder,
)
from condgen.runs.models import Folders, Models
from condgen.runs.prepare import training_key
from condgen.runs.sample import sample_key, sample_stage
from condgen.runs.stage import Stage, Work, in_main, refuse_other_files
from condgen.runs.train import train_stage
from condgen.runs.trajectories import trajectories_key, trajectory_stage
from condgen.settings import imported_targets
from condgen.training import Processes

__all__ = ["plan", "run_recipe", "trajectories_of"]

_POINTS_SHOWN = 12  # on their way from noise, of a class: many paths in a plane can be seen at once, images cannot


def plan(
    recipe: Recipe, folder: Path, train: LabelledSet, test: LabelledSet, samples: int | None = None
) -> list[Stage]:
    """The stages of a recipe, each after its inputs. Nothing is written, and no model read.

    Args:
        recipe: the recipe.
        folder: of the run.
        train: the training split.
        test: the held-out split.
        samples: by each method; by default as many as the recipe says.
    """
    return list(_Plan(recipe, folder, train, test, samples).stages.values())


class _Plan:
    def __init__(
        self, recipe: Recipe, folder: Path, train: LabelledSet, test: LabelledSet, samples: int | None
    ) -> None:
        self.recipe, self.folder, self.train, self.test = recipe, folder, train, test
        self.folders = Folders(
            score_folder(folder),
            {name: score_folder(folder, name) for name in recipe.scores},
            {name: classifier_folder(folder, name) for name in recipe.classifiers},
            {name: generator_folder(folder, name) for name in recipe.generators},
        )
        self.stages: dict[Path, Stage] = {}
        shared: dict[str, Any] = {"data": recipe.data, "schedule": recipe.schedule, "seed": recipe.seed}
        self.train_model("score", self.folders.score, ScoreStage(**shared, score=recipe.score), Models())
        for name, score in recipe.scores.items():
            self.train_model(f"score {name}", self.folders.scores[name], ScoreStage(**shared, score=score), Models())
        for name, classifier in recipe.classifiers.items():
            place, settings = self.folders.classifiers[name], ClassifierStage(**shared, classifier=classifier)
            self.train_model(f"classifier {name}", place, settings, Models(self.folders.score))
            if recipe.calibrate is not None:
                self.calibrate(name, CalibrateStage(calibrate=recipe.calibrate))
        for name, generator in recipe.generators.items():
            place, models = self.folders.generators[name], self.folders.taught_by(generator)
            self.train_model(f"generator {name}", place, GeneratorStage(**shared, generator=generator), models)
        if recipe.sample is not None:
            self.sample(recipe.sample, samples)
        if recipe.diagnose is not None:
            scales = {name: classifier.objective.usual_scales for name, classifier in recipe.classifiers.items()}
            methods = recipe.diagnose.methods or default_methods(scales, scales if recipe.calibrate else ())
            if methods:
                self.diagnose(DiagnoseStage(diagnose=recipe.diagnose, methods=methods))

    def add(self, name: str, place: Path, uses: Iterable[Path | None], **work: Any) -> None:  # noqa: ANN401 - of Stage
        inputs = tuple(self.stages[path] for path in dict.fromkeys(uses) if path is not None and path in self.stages)
        self.stages[place] = Stage(name, place, inputs, **work)

    def uses(self, guidance: Guidance) -> list[Path | None]:
        models = self.folders.models(guidance)
        calibrated = guidance.scale == "calibrated" and models.classifier is not None
        return [*models, models.classifier / CALIBRATION_FOLDER if calibrated and models.classifier else None]

    def train_model(self, name: str, place: Path, settings: TrainStage, models: Models) -> None:
        held_out = None if isinstance(settings, ScoreStage) else self.test
        self.add(
            *(name, place, models),
            key=partial(training_key, settings, self.train, models),
            run=lambda processes: train_stage(name, place, settings, self.train, processes, models, held_out),
            total=settings.training.steps,
            unit="steps",
            images=settings.training.steps * settings.training.batch,
        )

    def calibrate(self, name: str, settings: CalibrateStage) -> None:
        classifier, score = self.folders.classifiers[name], self.folders.score
        title, recipe = f"calibrate {name}", settings.calibrate
        levels = len(recipe.levels) if recipe.levels is not None else LEVELS
        self.add(
            *(title, classifier / CALIBRATION_FOLDER, (classifier, score)),
            key=partial(calibration_key, settings, classifier, score, self.test),
            run=lambda processes: in_main(
                processes, calibrate_stage(title, settings, classifier, score, self.test, processes.device)
            ),
            total=levels,
            unit="levels",
            images=levels * recipe.draws * min(recipe.most or len(self.test), len(self.test)),
            publish=self.publish_calibrations,
        )

    def sample(self, recipe: SampleRecipe, samples: int | None) -> None:
        labels = labels_spread(samples or recipe.per_class * self.train.n_classes, range(self.train.n_classes))
        places = {name: samples_folder(self.folder, name) for name in recipe.methods}
        for name, method in recipe.methods.items():
            settings = SampleStage(
                method=method, labels=labels, seed=recipe.seed, batch=recipe.batch, compile=recipe.compile
            )
            self.add(
                *(f"sample {name}", places[name], self.uses(method)),
                key=partial(sample_key, settings, self.folders.models(method)),
                run=partial(sample_stage, f"sample {name}", places[name], settings, self.folders.models(method)),
                total=len(labels),
                unit="samples",
                images=len(labels),
                publish=self.publish_cost,
            )
        shown = trajectories_of(recipe, self.train)
        if shown is not None:
            models = {name: self.folders.models(method) for name, method in shown.methods.items()}
            place = self.folder / TRAJECTORIES_FOLDER
            self.add(
                *("trajectories", place, [path for method in shown.methods.values() for path in self.uses(method)]),
                key=partial(trajectories_key, shown, models),
                run=lambda processes: in_main(processes, trajectory_stage(place, shown, models, processes.device)),
                total=len(shown.methods),
                unit="methods",
            )
        if self.recipe.evaluate is not None:
            self.evaluate(EvaluateStage(seed=self.recipe.seed, measures=self.recipe.evaluate), places)

    def evaluate(self, settings: EvaluateStage, samples: dict[str, Path]) -> None:
        place, train, test = self.folder / EVALUATION_FOLDER, self.train.to("cpu"), self.test
        features = settings.measures.features
        self.add(
            *("evaluate", place, samples.values()),
            key=lambda: evaluation_key(settings, samples, train, test, open_extractor(features, train.shape)),
            run=partial(evaluate_stage, place, settings, samples, train, test),
            total=len(samples),
            unit="methods",
            publish=self.publish_evaluation,
        )

    def diagnose(self, settings: DiagnoseStage) -> None:
        place, recipe = self.folder / DIAGNOSIS_FOLDER, settings.diagnose
        uses = [self.folders.score, *(path for method in settings.methods.values() for path in self.uses(method))]
        self.add(
            *("diagnose", place, uses),
            key=partial(diagnosis_key, settings, self.folders, self.train),
            run=partial(diagnose_stage, place, settings, self.folders, self.train),
            total=len(recipe.levels),
            unit="levels",
            images=len(recipe.levels) * recipe.queries,
            publish=self.publish_diagnosis,
        )

    def publish_calibrations(self) -> None:
        done = {name: path for name, path in self.folders.classifiers.items() if calibration_file(path).exists()}
        write_json(self.folder / CLASSIFIERS, gather_calibrations(done))

    def publish_evaluation(self) -> None:
        place = self.folder / EVALUATION_FOLDER
        write_json(self.folder / METRICS, read_json(place / METRICS))
        write_json(self.folder / NEIGHBOURS, neighbours_below(self.folder, place))

    def publish_diagnosis(self) -> None:
        for file in (DIAGNOSTICS, FIELD):
            if (self.folder / DIAGNOSIS_FOLDER / file).exists():
                write_json(self.folder / file, read_json(self.folder / DIAGNOSIS_FOLDER / file))

    def publish_cost(self) -> None:
        rows = []
        for name, method in (self.recipe.sample.methods if self.recipe.sample else {}).items():
            path = samples_folder(self.folder, name) / STAGE_FILE
            if not path.exists() or not (record := read_json(path)).get("finished"):
                continue
            one_step = method.generator is not None
            rows.append(
                {
                    "method": name,
                    "images": record["images"],
                    "seconds": record["drawing_seconds"],
                    "images_per_second": record["images_per_second"],
                    "evaluations_per_image": record["evaluations_per_image"],
                    "sampler": "one step" if one_step else method.sampler,
                    "steps": 1 if one_step else record.get("steps"),
                    "guide": None if one_step else method.in_words(),
                    "scale": method.scale if method.is_guided and method.scale != "calibrated" else None,
                }
            )
        write_json(self.folder / COST, {"rows": rows})


def trajectories_of(recipe: SampleRecipe, data: LabelledSet) -> TrajectoryStage | None:
    """The first samples of the first few classes, by the methods of many steps; None where there are none."""
    many = {name: method for name, method in recipe.methods.items() if method.generator is None}
    if not many or not recipe.trajectories:
        return None
    each = min(1 if data.is_images else _POINTS_SHOWN, recipe.per_class)
    labels = tuple(label for label in range(min(recipe.trajectories, data.n_classes)) for _ in range(each))
    seeds = tuple(recipe.seed + label * recipe.per_class + i % each for i, label in enumerate(labels))
    return TrajectoryStage(methods=many, labels=labels, seeds=seeds)


def run_recipe(recipe: Recipe, folder: Path, processes: Processes, command: str) -> Work:
    """Runs every stage of a recipe that is not finished yet.

    Writes `recipe.yaml`, `run.json`, `cost.json`, and copies of `metrics.json`, `diagnostics.json` and, in one file, of
    all calibrations at the top.
    """
    train, test = processes.in_turn(lambda: (load(recipe.data, "train"), load(recipe.data, "test")))
    if recipe.sample is not None and recipe.evaluate is not None:  # what is missing is said now, not after the training
        features = recipe.evaluate.features
        processes.in_turn(lambda: open_extractor(features, train.shape))
    stages = plan(recipe, folder, train.to(processes.device), test)
    about = processes.once(lambda: _begin(recipe, folder, processes.count, command))
    done: list[Stage] = []
    with trusted_imports(imported_targets(recipe.model_dump())):  # a recipe is trusted by who runs it
        for stage in stages:
            yield from stage.run(processes)
            done.append(stage)
            processes.once(lambda: _note(folder, about, done))
            if stage.publish is not None:
                processes.once(stage.publish)


def _begin(recipe: Recipe, folder: Path, processes: int, command: str) -> dict[str, Any]:
    """Marks the folder as that of a run, and drops copies that may be of an earlier recipe; they are made anew."""
    if (folder / STAGE_FILE).exists():
        raise UserError(f"{folder} is the folder of a single stage: choose another one with --out")
    if not (folder / RUN_FILE).exists():
        refuse_other_files(folder)
    for copy in (METRICS, NEIGHBOURS, DIAGNOSTICS, FIELD, COST, CLASSIFIERS):
        (folder / copy).unlink(missing_ok=True)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if (folder / RUN_FILE).exists():
        started = read_json(folder / RUN_FILE).get("started", started)
    many = {"processes": processes} if processes > 1 else {}
    about = {"name": recipe.name, **describe_environment(), **many, "started": started, "command": command}
    _note(folder, about, [])  # before anything else
    write_atomically(folder / RECIPE_FILE, to_yaml(recipe).encode())
    return about


def _note(folder: Path, about: dict[str, Any], done: list[Stage]) -> None:
    rows = []
    for stage in done:
        record, place = read_json(stage.folder / STAGE_FILE), str(stage.folder.relative_to(folder))
        rows.append(
            {"stage": stage.name, "folder": place, "seconds": record["seconds"], "what": record.get("what", "")}
        )
    write_json(folder / RUN_FILE, about | {"stages": rows})
