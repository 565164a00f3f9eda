"""A recipe, walked through as it would be run, with nothing written outside a scratch folder.

Every stage is built by the functions that would run it, on the data themselves, and tried for a second or two. What
later stages need of earlier ones, such as the score model that a classifier learns from, is the finished model where
the run folder holds it, and else the network after those few steps: what it costs does not depend on its weights.
"""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from condgen.checkpoint import MODEL_FILE, read_description, save_tensors
from condgen.classifier import Classifier
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.files import write_atomically
from condgen.guidance import ScaleCurve
from condgen.metrics import open_extractor
from condgen.recipes import (
    CalibrateStage,
    ClassifierStage,
    DiagnoseStage,
    EvaluateStage,
    GeneratorStage,
    Recipe,
    SampleStage,
    ScoreStage,
    TrainStage,
    to_yaml,
)
from condgen.runs.calibrate import calibration_key
from condgen.runs.diagnose import default_methods, diagnosis_key, open_methods
from condgen.runs.dry_run.machine import data_of, free_memory, name_of, resident, uncompiled
from condgen.runs.dry_run.pieces import calibrating, diagnosing, drawing, evaluating_all, written
from condgen.runs.dry_run.probes import probe, probe_training, waiting
from condgen.runs.dry_run.rows import Estimate, Reuse, StageEstimate
from condgen.runs.evaluate import evaluation_key
from condgen.runs.folder import Stage, file_key, read_json, write_json
from condgen.runs.guided import Folders, Models
from condgen.runs.layout import CALIBRATION, CALIBRATION_FOLDER, RECIPE_FILE, STAGE_FILE, TRAJECTORIES_FOLDER
from condgen.runs.pipeline import trajectories_of
from condgen.runs.prepare import Prepared, prepare, training_key
from condgen.runs.sample import open_light, sample_key
from condgen.runs.sample_folder import seeds_written
from condgen.runs.trajectories import trajectories_key
from condgen.score import ScoreModel
from condgen.training import Processes, save_state
from condgen.training.checkpoint import STATE_FILE

__all__ = ["estimate"]

_LOG_ROW = 200  # bytes
_LONG = 3.0  # seconds of a look at a generator, above which one look is enough


def estimate(recipe: Recipe, folder: Path, processes: Processes) -> Generator[str, None, Estimate]:
    """What a recipe would take, here and now. The run folder is read, and nothing is written into it.

    Args:
        recipe: the recipe.
        folder: of the run, whether or not it is there.
        processes: of this run.

    Yields:
        What is looked at next.

    Returns:
        The estimate.

    Raises:
        UserError: what the run itself would raise before its first step, and where there are many processes.
    """
    if processes.count > 1:  # each would take its own time, and leave off where the others wait for it
        raise UserError("a dry run looks at one process: start it without the launcher")
    yield "data"
    train, test, problem = data_of(recipe)
    with TemporaryDirectory(prefix="condgen-") as scratch:
        walk = _Walk(recipe, folder, Path(scratch), train.to(processes.device), test, processes, known=not problem)
        stages = yield from walk.stages()
    near = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return Estimate(
        recipe=recipe.name,
        device=name_of(processes.device),
        stages=tuple(stages),
        free_memory=free_memory(processes.device),
        free_disk=shutil.disk_usage(near).free,
        notes=(problem,) if problem else (),
    )


class _Walk:
    """Goes through a recipe in the order of `run_recipe`, with folders of the same names in a scratch folder."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        scratch: Path,
        train: LabelledSet,
        test: LabelledSet,
        processes: Processes,
        *,
        known: bool,
    ) -> None:
        self.recipe, self.folder, self.scratch, self.train, self.test = recipe, folder, scratch, train, test
        self.processes, self.device, self.known = processes, processes.device, known
        self.ready: set[str] = set()  # folders whose stage is finished
        self.base = (0 if self.device.type == "cuda" else resident()) + train.x.nbytes * (self.device.type == "cuda")
        self.std = train.standard_deviation()

    def _folders(self, root: Path) -> Folders:
        recipe = self.recipe
        return Folders(
            root / "score",
            {name: root / f"score-{name}" for name in recipe.scores},
            {name: root / f"classifier-{name}" for name in recipe.classifiers},
            {name: root / f"generator-{name}" for name in recipe.generators},
        )

    def _finished(self, models: Models | Folders) -> bool:
        """Whether all models are there, trained as the recipe says."""
        used: list[Path] = []
        for part in models:
            used += [part] if isinstance(part, Path) else list(part.values()) if part is not None else []
        return all(path.name in self.ready for path in used)

    def _reuse(self, name: str, place: str, key: str | None) -> tuple[Reuse, str]:
        """What a folder of the run holds of a stage, and what else is to say of it."""
        path = self.folder / place / STAGE_FILE
        if not path.exists() or not self.known:
            return "to do", ""
        record = read_json(path)
        if key is None or record.get("key") != key:
            return "to do", "settings or inputs changed: the earlier one will be kept beside"
        if Stage(name, self.folder / place, key, record).finished:
            self.ready.add(place)
            return "finished", ""
        return "begun", ""

    def stages(self) -> Generator[str, None, list[StageEstimate]]:
        """All stages."""
        recipe, real, stand_in = self.recipe, self._folders(self.folder), self._folders(self.scratch)
        about: dict[str, Any] = {"data": recipe.data, "schedule": recipe.schedule, "seed": recipe.seed}
        rows: list[StageEstimate] = []
        scores = {"score": recipe.score, **{f"score-{name}": score for name, score in recipe.scores.items()}}
        for place, score in scores.items():
            yield place
            rows.append(self._trained(place, ScoreStage(**about, score=score), Models(), Models()))
        for name, classifier in recipe.classifiers.items():
            yield f"classifier {name}"
            stage = ClassifierStage(**about, classifier=classifier)
            rows.append(self._trained(f"classifier-{name}", stage, Models(real.score), Models(stand_in.score)))
            if recipe.calibrate is not None:
                yield f"calibrate {name}"
                rows.append(self._calibrated(name, CalibrateStage(calibrate=recipe.calibrate), real, stand_in))
        for name, generator in recipe.generators.items():
            yield f"generator {name}"
            taught = real.taught_by(generator), stand_in.taught_by(generator)
            rows.append(self._trained(f"generator-{name}", GeneratorStage(**about, generator=generator), *taught))
        if recipe.sample is not None:
            rows += yield from self._samples(real, stand_in)
            if recipe.evaluate is not None:
                rows.append((yield from self._evaluated()))
        if recipe.diagnose is not None:
            yield "diagnose"
            rows += self._diagnosed(real, stand_in)
        return rows

    # ------------------------------------------------------------------------------------------------
    # Models

    def _trained(self, place: str, stage: TrainStage, real: Models, stand_in: Models) -> StageEstimate:
        light = uncompiled(stage)
        prepared = prepare(
            light, self.train, self.device, stand_in, None if isinstance(stage, ScoreStage) else self.test
        )
        settings, title = prepared.training, place.replace("-", " ", 1)
        needed = real
        if isinstance(stage, ScoreStage) or (
            isinstance(stage, ClassifierStage) and not stage.classifier.objective.needs_prior
        ):
            needed = Models()
        key = training_key(stage, self.train, real) if self.known and self._finished(needed) else None
        reuse, note = self._reuse(title, place, key)
        parameters = sum(p.numel() for p in prepared.task.models()["model"].parameters())
        here, home = self.scratch / place, self.folder / place
        write_atomically(here / RECIPE_FILE, to_yaml(stage).encode())
        if reuse == "finished":
            (here / MODEL_FILE).symlink_to((home / MODEL_FILE).resolve())
            return StageEstimate(title, reuse, settings.steps, settings.steps, "steps", parameters, note=note)
        done = 0
        if reuse == "begun" and (home / STATE_FILE).exists():
            done = int(read_description(home / STATE_FILE).get("step", 0))
        found = probe_training(prepared, self.train, stage.seed, self.processes)
        save_tensors(here / MODEL_FILE, found.state.ema.state_dict(), prepared.config.model_dump(mode="json"))
        saving = self._saving(here, found.state)
        left = range(done + 1, settings.steps + 1)
        saves = sum(step % settings.save_every == 0 or step == settings.steps for step in left)
        seconds = len(left) * found.seconds + saves * saving + self._looked_at(prepared, found.state.ema, saves, left)
        snapshots = sum(step > done for step in settings.snapshots)
        disk = (1 + snapshots) * found.model + found.checkpoint + _LOG_ROW * len(left) // settings.log_every
        if light != stage:
            note = "; ".join(filter(None, (note, "timed without compilation")))
        return StageEstimate(
            *(title, reuse, done, settings.steps, "steps", found.parameters, found.flops),
            seconds=seconds,
            memory=self.base + found.memory,
            disk=disk,
            note=note,
        )

    def _saving(self, here: Path, state: Any) -> float:  # noqa: ANN401
        """Seconds that the state takes to be saved."""
        started = waiting(self.device)
        save_state(here, state, "")
        seconds = waiting(self.device) - started
        shutil.rmtree((here / STATE_FILE).parent)
        return seconds

    def _looked_at(self, prepared: Prepared, model: torch.nn.Module, saves: int, left: range) -> float:
        """Seconds of what a stage does beside training: measures a classifier, looks at a generator."""
        seconds = 0.0
        if prepared.check is not None:
            check = prepared.check

            def measure(n: int) -> None:
                check._replace(x=check.x[:n], y=check.y[:n], levels=check.levels[:1]).rows(model)

            seconds += probe(measure, len(check.x), self.device) * len(check.levels) * saves
        if prepared.looks is not None:
            due = sum(prepared.looks.is_due(step, prepared.training.steps) for step in left)
            first = again = prepared.looks.take(model, self.scratch / "previews", 0).seconds
            if first < _LONG:  # the first one fits what the others use as well
                again = prepared.looks.take(model, self.scratch / "previews", 0).seconds
            seconds += first + max(0, due - 1) * again
        return seconds

    def _calibrated(self, name: str, stage: CalibrateStage, real: Folders, stand_in: Folders) -> StageEstimate:
        classifier, here, title = real.classifiers[name], stand_in.classifiers[name], f"calibrate {name}"
        finished = self._finished(Models(real.score, classifier))
        key = calibration_key(stage, classifier, real.score, self.test) if self.known and finished else None
        place = f"{classifier.name}/{CALIBRATION_FOLDER}"
        reuse, note = self._reuse(title, place, key)
        prior, likelihood = ScoreModel.load(stand_in.score, self.device), Classifier.load(here, self.device)
        kept = here / CALIBRATION_FOLDER / CALIBRATION
        if reuse == "finished":
            write_atomically(kept, (self.folder / place / CALIBRATION).read_bytes())
            levels = len(read_json(kept)["rows"])
            return StageEstimate(title, reuse, levels, levels, "levels", note=note)
        models = {"classifier": file_key(here / MODEL_FILE), "score": file_key(stand_in.score / MODEL_FILE)}
        curve = ScaleCurve(levels=(1.0,), scales=(1.0,))
        write_json(kept, {"models": models, "curve": curve.model_dump(mode="json")})
        seconds, levels, memory = calibrating(stage, prior, likelihood, self.test, self.device)
        memory += self.base
        return StageEstimate(title, reuse, 0, levels, "levels", seconds=seconds, memory=memory, note=note)

    # ------------------------------------------------------------------------------------------------
    # Samples, and what is measured

    def _samples(self, real: Folders, stand_in: Folders) -> Generator[str, None, list[StageEstimate]]:
        recipe, rows = self.recipe.sample, list[StageEstimate]()
        assert recipe is not None
        labels = tuple(label for label in range(self.train.n_classes) for _ in range(recipe.per_class))
        writing, size = written(self.train, self.scratch / "written")
        shown = trajectories_of(recipe, self.train)
        moments, many = 0.0, {}
        for name, method in recipe.methods.items():
            yield f"sample {name}"
            stage = SampleStage(method=method, labels=labels, seed=recipe.seed, batch=recipe.batch)
            models, here = real.models(method), stand_in.models(method)
            source = open_light(stage, here, self.device)
            key = sample_key(stage, models, source) if self._may_reuse(models, method.scale == "calibrated") else None
            reuse, note = self._reuse(f"sample {name}", f"samples/{name}", key)
            done = len(seeds_written(self.folder / "samples" / name)) if reuse == "begun" else 0
            left = 0 if reuse == "finished" else len(labels) - done
            batch = min(recipe.batch, max(left, 1))
            found = drawing(stage, source, self.std, batch)
            if shown is not None and name in shown.methods:
                many[name] = models
                few = len(shown.labels)
                moments += (drawing(stage, source, self.std, few) if few < batch else found).seconds(
                    few, min(few, batch)
                )
            rows.append(
                StageEstimate(
                    *(f"sample {name}", reuse, len(labels) - left, len(labels), "samples"),
                    seconds=found.seconds(left, batch) + left * writing,
                    memory=self.base + found.memory if left else 0,
                    disk=left * size,
                    note=note or found.in_words(),
                )
            )
        if shown is not None:
            ready = all(self._may_reuse(many[n], m.scale == "calibrated") for n, m in shown.methods.items())
            key = trajectories_key(shown, {n: real.models(m) for n, m in shown.methods.items()}) if ready else None
            reuse, note = self._reuse("trajectories", TRAJECTORIES_FOLDER, key)
            total = len(shown.methods)
            done = total if reuse == "finished" else 0
            seconds = 0.0 if done else moments
            rows.append(StageEstimate("trajectories", reuse, done, total, "methods", seconds=seconds, note=note))
        return rows

    def _may_reuse(self, models: Models, calibrated: bool) -> bool:
        """Whether samples of these models may be there: all are finished, and calibrated where that matters."""
        if not (self.known and self._finished(models)):
            return False
        needs = calibrated and models.classifier is not None and self.recipe.calibrate is not None
        return not needs or f"{models.classifier.name}/{CALIBRATION_FOLDER}" in self.ready  # type: ignore[union-attr]

    def _evaluated(self) -> Generator[str, None, StageEstimate]:
        assert self.recipe.sample is not None
        assert self.recipe.evaluate is not None
        stage = EvaluateStage(seed=self.recipe.seed, measures=self.recipe.evaluate)
        samples = {name: self.folder / "samples" / name for name in self.recipe.sample.methods}
        extractor = open_extractor(stage.measures.features, self.train.shape, self.device)
        ready = all(f"samples/{name}" in self.ready for name in samples)
        train, total = self.train.to("cpu"), len(samples)
        key = evaluation_key(stage, samples, train, self.test, extractor) if ready else None
        reuse, note = self._reuse("evaluate", "evaluation", key)
        if reuse == "finished":
            return StageEstimate("evaluate", reuse, total, total, "methods", note=note)
        n = self.recipe.sample.per_class * self.train.n_classes
        work = evaluating_all(stage.measures, extractor, [n] * total, train, self.test, self.device)
        seconds = yield from work
        return StageEstimate("evaluate", reuse, 0, total, "methods", seconds=seconds, memory=self.base, note=note)

    def _diagnosed(self, real: Folders, stand_in: Folders) -> Iterator[StageEstimate]:
        recipe = self.recipe.diagnose
        assert recipe is not None
        calibrated = self.recipe.calibrate is not None
        methods = recipe.methods or default_methods(stand_in.classifiers, calibrated=calibrated)
        if not methods:
            return
        stage = DiagnoseStage(diagnose=recipe, methods=methods)
        used = [(real.models(method), method.scale == "calibrated") for method in methods.values()]
        ready = all(self._may_reuse(models, calibrated) for models, calibrated in used) and "score" in self.ready
        key = diagnosis_key(stage, real, self.train) if ready else None
        reuse, note = self._reuse("diagnose", "diagnosis", key)
        total = len(recipe.levels)
        if reuse == "finished":
            yield StageEstimate("diagnose", reuse, total, total, "levels", note=note)
            return
        prior = ScoreModel.load(stand_in.score, self.device)
        opened, _ = open_methods(stage, stand_in, prior, self.device)
        seconds, memory = diagnosing(stage, prior, opened, self.train, self.device)
        yield StageEstimate(
            *("diagnose", reuse, 0, total, "levels"), seconds=seconds, memory=self.base + memory, note=note
        )
