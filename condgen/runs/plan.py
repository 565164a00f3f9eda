"""A recipe as a list of stages, and the run that works through them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from condgen.checkpoint import trusted_imports
from condgen.data.sets import Splits
from condgen.errors import UserError
from condgen.files import write_atomically
from condgen.metrics.extractors import open_extractor
from condgen.recipes.compose import to_yaml
from condgen.recipes.schema import ClassifierStage, EvaluateStage, GeneratorStage, Recipe, SampleStage, ScoreStage
from condgen.runs import layout
from condgen.runs.calibrate import Calibrate
from condgen.runs.diagnose import Diagnose, with_defaults
from condgen.runs.environment import describe_environment
from condgen.runs.evaluate import Evaluate
from condgen.runs.folder import read_json, write_json
from condgen.runs.models import Folders
from condgen.runs.sample import Sample
from condgen.runs.side_by_side import in_turn, side_by_side
from condgen.runs.stage import Progress, Stage, Work, is_finished, read_record, refuse_other_files
from condgen.runs.train import Train
from condgen.settings import imported_targets
from condgen.training.distributed import Processes


def plan(recipe: Recipe, folder: Path, data: Splits) -> list[Stage]:
    """The stages of a recipe, each after those that it reads. Nothing is written, and no model read."""
    folders, train, validation = Folders.of_run(recipe, folder), data.train, data.validation
    shared: dict[str, Any] = {"data": recipe.data, "schedule": recipe.schedule, "seed": recipe.seed}
    stages: list[Stage] = [Train("score", folders.score(), ScoreStage(**shared, score=recipe.score), train)]
    for name, score in recipe.scores.items():
        stages.append(Train(f"score {name}", folders.score(name), ScoreStage(**shared, score=score), train, folders))
    for name, classifier in recipe.classifiers.items():
        place = folders.classifier(name)
        trained = ClassifierStage(**shared, classifier=classifier)
        stages.append(Train(f"classifier {name}", place, trained, train, folders, validation))
        if recipe.calibrate is not None:
            where = place / layout.CALIBRATION_FOLDER
            stages.append(Calibrate(f"calibrate {name}", where, recipe.calibrate, folders.score(), validation))
    for name, generator in recipe.generators.items():
        taught = GeneratorStage(**shared, generator=generator)
        stages.append(Train(f"generator {name}", folders.generator(name), taught, train, folders, validation))
    if (sample := recipe.sample) is not None:
        classes, n = tuple(range(train.n_classes)), sample.per_class * train.n_classes
        how = sample.model_dump(include={"seed", "batch", "compile"}) | {"classes": classes, "n": n}
        places = {name: layout.samples_folder(folder, name) for name in sample.methods}
        for name, method in sample.methods.items():
            drawn = SampleStage(method=method, data=recipe.data, **how)
            stages.append(Sample(f"sample {name}", places[name], drawn, folders))
        if recipe.evaluate is not None:
            measured = EvaluateStage(seed=recipe.seed, measures=recipe.evaluate)
            where = folder / layout.EVALUATION_FOLDER
            stages.append(Evaluate("evaluate", where, measured, places, train.to("cpu"), data.test))
    if recipe.diagnose is not None:
        losses = {name: classifier.objective for name, classifier in recipe.classifiers.items()}
        labelled = [name for name, score in recipe.scores.items() if score.labels != "none"]
        compared = with_defaults(recipe.diagnose, losses, losses if recipe.calibrate else (), labelled)
        if compared.methods:
            stages.append(Diagnose("diagnose", folder / layout.DIAGNOSIS_FOLDER, compared, folders, train, data.test))
    return stages


def states(stages: Sequence[Stage]) -> dict[Path, str]:
    """By folder, whether a stage is finished, begun, to go on since more is asked for, changed otherwise, or to do."""
    found: dict[Path, str] = {}
    for stage in stages:
        below = [found[path] for file in stage.reads() for path in file.parents if path in found]
        record = read_record(stage.folder) if (stage.folder / layout.STAGE_FILE).exists() else None
        if record is None or any(state != "finished" for state in below):
            found[stage.folder] = "to do"
        elif (key := stage.key()).continues(record):
            found[stage.folder] = "to go on"
        elif record.get("key") != key.whole:
            found[stage.folder] = "changed"
        else:
            found[stage.folder] = "finished" if is_finished(record, stage.folder) else "begun"
    return found


def run_recipe(recipe: Recipe, folder: Path, processes: Processes, command: str, jobs: int = 1) -> Work:
    """Runs every stage of a recipe that is not finished; what each finds is copied to the top of the folder.

    With `jobs`, so many stages are at work at once, of those that do not read one another.
    """
    data = _load_data(recipe, processes)
    if recipe.sample is not None and recipe.evaluate is not None:  # what is missing is said now, not after the training
        processes.in_turn(partial(open_extractor, recipe.evaluate.features, data.train.shape))
    stages = plan(recipe, folder, data)
    about = processes.once(lambda: _begin(recipe, folder, processes, command))
    if data.train.passed_over:
        yield Progress(stages[0].name, 0, 1, message=data.train.passed_over)
    found = processes.once(lambda: states(stages))
    left = [stage for stage in stages if found[stage.folder] != "finished"]
    finished, noted = set(stages) - set(left), list[Stage]()
    trusted = tuple(imported_targets(recipe.model_dump()))
    with trusted_imports(trusted):  # a recipe is trusted by who runs it
        load = partial(_load_stages, recipe, folder)
        parallel = min(jobs, len(left)) > 1
        events = side_by_side(left, load, jobs, processes, trusted) if parallel else in_turn(left, processes)
        with closing(events):
            for event in chain(tuple(finished), events):
                if isinstance(event, Progress):
                    yield event
                    continue
                finished.add(event)
                while len(noted) < len(stages) and stages[len(noted)] in finished:  # in the order of the plan
                    noted.append(stages[len(noted)])
                    processes.once(lambda: _note(folder, about, noted))


def _load_data(recipe: Recipe, processes: Processes) -> Splits:
    data = processes.in_turn(recipe.data.load_all)
    return data._replace(train=data.train.to(processes.device))


def _load_stages(recipe: Recipe, folder: Path, processes: Processes) -> list[Stage]:
    return plan(recipe, folder, _load_data(recipe, processes))


def seed_runs(recipe: Recipe, seeds: int, folder: Path) -> dict[Path, Recipe]:
    """A recipe with its seed and those that follow, by sub-folder."""
    if any((folder / name).exists() for name in (layout.RUN_FILE, layout.STAGE_FILE)):
        raise UserError(f"{folder} is the folder of one run: choose another one for several seeds with --out")
    numbers = range(recipe.seed, recipe.seed + seeds)
    return {folder / f"seed-{seed}": recipe.model_copy(update={"seed": seed}) for seed in numbers}


def run_all(recipes: Mapping[Path, Recipe], processes: Processes, command: str, jobs: int = 1) -> Work:
    """Runs recipes one after another; finished stages are reused."""
    for folder, recipe in recipes.items():
        for event in run_recipe(recipe, folder, processes, command, jobs):
            yield event._replace(stage=f"{recipe.seed}: {event.stage}")


def _begin(recipe: Recipe, folder: Path, processes: Processes, command: str) -> dict[str, Any]:
    """Marks the folder as that of a run, and drops copies that may be of an earlier recipe; they are made anew."""
    if (folder / layout.STAGE_FILE).exists():
        raise UserError(f"{folder} is the folder of a single stage: choose another one with --out")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if (folder / layout.RUN_FILE).exists():
        started = read_json(folder / layout.RUN_FILE).get("started", started)
    else:
        refuse_other_files(folder)
    for copy in layout.PUBLISHED:
        (folder / copy).unlink(missing_ok=True)
    about = {"name": recipe.name, **describe_environment(processes.device)}
    if processes.count > 1:
        about["processes"] = processes.count
    about |= {"started": started, "command": command}
    write_json(folder / layout.RUN_FILE, about | {"stages": []})  # before anything else
    write_atomically(folder / layout.RECIPE_FILE, to_yaml(recipe, folder).encode())
    return about


def _note(folder: Path, about: dict[str, Any], done: list[Stage]) -> None:
    """Adds the last finished stage to `run.json`, and shows at the top what it has found."""
    rows = []
    for stage in done:
        record, place = read_json(stage.folder / layout.STAGE_FILE), str(stage.folder.relative_to(folder))
        facts = {"seconds": record["seconds"], "what": record.get("what", "")}
        rows.append({"stage": stage.name, "folder": place, **facts})
    write_json(folder / layout.RUN_FILE, about | {"stages": rows})
    done[-1].publish(folder)
