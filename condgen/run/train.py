"""The training stages: score model, classifier, generator, each in a folder of its own."""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet, stratified_order
from condgen.diagnostics.classifier_errors import measure_classifier, spread_levels
from condgen.errors import UserError
from condgen.metrics import Reading
from condgen.recipe import ClassifierStage, GeneratorStage, ScoreStage, content_key
from condgen.rng import keyed_generator
from condgen.run.folder import Progress, Stage, Work, file_key, open_stage
from condgen.run.generators import generator_task
from condgen.run.guided import Models
from condgen.run.looks import Looks
from condgen.score import Discriminator, ScoreConfig, ScoreModel
from condgen.settings import Settings
from condgen.training import (
    Processes,
    Record,
    State,
    Task,
    TrainingSettings,
    lighten_,
    load_state,
    save_state,
    share_state,
    train,
)
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask
from condgen.weights import MODEL_FILE, save_tensors

__all__ = ["SNAPSHOTS", "Prepared", "TrainStage", "prepare", "train_stage", "training_key"]

SNAPSHOTS = "snapshots"  # the sub-folder of averaged weights of earlier steps, each in a folder named by its step

TrainStage: TypeAlias = ScoreStage | ClassifierStage | GeneratorStage


_CHECKED_LEVELS, _CHECKED_IMAGES, _CHECK_SEED = 8, 512, 0
_LOOKS_IN_ALL = 10
_BAD_IN_A_ROW = 10  # skipped updates, after which training ends


class _Check(NamedTuple):
    """Held-out data on which a classifier is looked at from time to time, always with the same noise."""

    x: Tensor
    y: Tensor
    levels: tuple[float, ...]
    prior: ScoreModel | None

    def rows(self, classifier: nn.Module) -> list[dict[str, Any]]:
        """What the classifier is worth at each noise level, as plain JSON. No global random number is drawn."""
        assert isinstance(classifier, Classifier)
        generator = keyed_generator(_CHECK_SEED)
        found = measure_classifier(
            classifier, self.prior, self.x, self.y, self.levels, generator=generator, batch=_CHECKED_IMAGES
        )
        return [row.as_dict() for row in found]


class Prepared(NamedTuple):
    """What a training stage trains, and what it looks at meanwhile."""

    task: Task
    config: Settings
    training: TrainingSettings
    check: _Check | None = None  # of a classifier
    looks: Looks | None = None  # at a generator


def _score_work(stage: ScoreStage, data: LabelledSet, device: torch.device) -> Prepared:
    config = ScoreConfig(
        network=stage.score.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        labels=stage.score.labels,
        sigma_data=data.standard_deviation(),
    )
    model, objective = ScoreModel(config).to(device), stage.score.adversarial
    task: Task = ScoreTask(model, stage.score.density, stage.score.label_dropout)
    if objective is not None:  # drawn after the model, whose initial weights are those without an adversary
        discriminator = Discriminator(objective.network, objective.told_noise, model).to(device)
        task = AdversarialScoreTask(model, discriminator, objective, stage.score.density, stage.score.label_dropout)
    return Prepared(task, config, stage.score.training)


def _classifier_work(
    stage: ClassifierStage,
    data: LabelledSet,
    device: torch.device,
    score_folder: Path | None,
    held_out: LabelledSet | None,
) -> Prepared:
    prior = None
    if stage.classifier.objective.loss == "dlsm":
        if score_folder is None:
            raise UserError("DLSM builds on a trained score model: name its folder with --score")
        prior = ScoreModel.load(score_folder, device)
        if prior.config.shape != data.shape or prior.schedule != stage.schedule:
            raise UserError(
                f"the score model in {score_folder} was trained on {prior.config.shape} with {prior.schedule.kind!r} "
                f"noise, the classifier is to see {data.shape} with {stage.schedule.kind!r}: use one for both"
            )
        if prior.config.names != data.names:
            raise UserError(
                f"the score model in {score_folder} was trained on {len(prior.config.names)} classes, which are not "
                f"the {len(data.names)} of {data.source}: use one data set for both"
            )
        prior.require_unconditional(score_folder, "on which DLSM builds")
    config = ClassifierConfig(
        network=stage.classifier.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        sigma_data=data.standard_deviation(),
    )
    classifier = Classifier(config).to(device)
    frozen = lighten_(prior, stage.classifier.prior) if prior is not None else None
    task = ClassifierTask(classifier, stage.classifier.objective, stage.classifier.density, frozen)
    check = None
    if held_out is not None:
        chosen = stratified_order(held_out.y, keyed_generator(_CHECK_SEED))[:_CHECKED_IMAGES]
        check = _Check(
            x=held_out.floats(chosen).to(device),
            y=held_out.y[chosen].to(device),
            levels=spread_levels(stage.schedule, config.sigma_data, _CHECKED_LEVELS),
            prior=_prior_that_fits(config, score_folder, device),
        )
    return Prepared(task, config, stage.classifier.training, check)


def _prior_that_fits(config: ClassifierConfig, folder: Path | None, device: torch.device) -> ScoreModel | None:
    """A score model as it was trained, where one is at hand: it tells what the gradient gains, by any objective."""
    if folder is None or not (folder / MODEL_FILE).exists():
        return None
    prior = ScoreModel.load(folder, device)
    fits = (prior.config.shape, prior.schedule) == (config.shape, config.schedule)
    return prior if fits and prior.config.labels != "separate" else None


def train_stage(
    name: str,
    folder: Path,
    stage: TrainStage,
    data: LabelledSet,
    processes: Processes,
    built_on: Models | None = None,
    held_out: LabelledSet | None = None,
) -> Work:
    """Trains a model in a folder, or goes on, or does nothing where it is finished.

    Leaving the iteration early saves the state; the same call goes on from there.

    Args:
        name: for people.
        folder: where the model goes.
        stage: what to train.
        data: the training split.
        processes: of this run.
        built_on: the frozen models that it learns from: the score model of DLSM, a generator's teacher.
        held_out: data on which a classifier or a generator is measured from time to time, for `log.jsonl` alone: the
            trained weights do not depend on it.
    """
    models = built_on or Models()
    if _training_of(stage).flip and not data.is_images:
        raise UserError(f"training.flip mirrors images, and {data.source} has points: leave it out")
    key = processes.same(lambda: training_key(stage, data, models))
    work = prepare(stage, data, processes.device, models, held_out)
    opened = open_stage(name, folder, key, stage, processes)
    if opened.finished:
        return
    yield from opened.start()
    state = State.fresh(work.task.models(), work.training.betas)
    processes.once(lambda: load_state(folder, state, key))
    share_state(state, processes)
    opened.forget_log_after(state.step)
    yield from _train(opened, work, state, data, stage.seed, processes)


def training_key(stage: TrainStage, data: LabelledSet, models: Models) -> str:
    """The content hash of everything that the trained weights depend on."""
    return content_key(_what_counts(stage), data.fingerprint(), *_keys_below(stage, models))


def prepare(
    stage: TrainStage, data: LabelledSet, device: torch.device, models: Models, held_out: LabelledSet | None
) -> Prepared:
    """The networks of a stage with their initial weights, and all that trains them.

    Args:
        stage: what to train.
        data: the training split.
        device: where.
        models: the frozen models that it learns from.
        held_out: data on which it is measured from time to time.
    """
    torch.manual_seed(stage.seed)  # the initial weights
    match stage:
        case ScoreStage():
            return _score_work(stage, data, device)
        case ClassifierStage():
            return _classifier_work(stage, data, device, models.score, held_out)
        case GeneratorStage():
            task = generator_task(stage, data, models, device)
            training = stage.generator.training
            every = stage.generator.look_every or max(1, training.steps // _LOOKS_IN_ALL)
            looks = Looks(data, held_out, every) if held_out is not None else None
            return Prepared(task, task.model.config, training, looks=looks)


def _training_of(stage: TrainStage) -> TrainingSettings:
    match stage:
        case ScoreStage():
            return stage.score.training
        case ClassifierStage():
            return stage.classifier.training
        case GeneratorStage():
            return stage.generator.training


def _what_counts(stage: TrainStage) -> dict[str, Any]:
    """What the weights depend on, beyond rounding, in the words of the keys of models trained before.

    Compilation and parts of a batch only change the order of sums, as the number of processes does: training may be
    stopped, and go on with others. The precision is part of what a model is. How often a generator is looked at changes
    nothing.
    """
    tree = stage.model_dump(mode="json")
    part = next(tree[name] for name in ("score", "classifier", "generator") if name in tree)
    for name in ("compile", "micro_batch"):
        part["training"].pop(name, None)
    if "prior" in part:
        part["prior"]["compile"] = False
    if isinstance(stage, ClassifierStage):
        part["compile"] = False
    if isinstance(stage, GeneratorStage):
        part["look_every"] = None
        part["augment"]["flip"] = part["training"].pop("flip", False)
    return tree


def _keys_below(stage: TrainStage, models: Models) -> list[str]:
    """Content hashes of the model files that a stage's training depends on."""
    if isinstance(stage, GeneratorStage):
        recipe = stage.generator
        keys = models.keys(recipe.teacher) if recipe.teacher is not None else []
        if recipe.likelihood is not None and models.likelihood is not None:
            keys.append(file_key(models.likelihood / MODEL_FILE))
        return keys
    needs_score = isinstance(stage, ClassifierStage) and stage.classifier.objective.loss == "dlsm"
    return [file_key(models.score / MODEL_FILE) if needs_score and models.score is not None else ""]


def _train(stage: Stage, work: Prepared, state: State, data: LabelledSet, seed: int, processes: Processes) -> Work:
    settings = work.training
    first, saved, note, last_time = state.step, state.step, "", time.perf_counter()
    seen, told = "", False  # what the last look saw, and whether a collapse was told
    at_a_time: dict[str, int] = {}  # rows, by network, as was last told

    def save() -> None:
        nonlocal saved
        if processes.is_main and state.step != saved:
            save_state(stage.folder, state, stage.key)
            stage.note()
        saved = state.step

    try:
        for record in train(work.task, state, data, settings, seed, processes):
            if record.step % settings.log_every == 0 or record.step == settings.steps:
                now = time.perf_counter()
                note = _log(stage, record, state, settings, now - last_time)
                last_time = now
            if record.step in settings.snapshots and processes.is_main:  # before the state that says it is written
                place = stage.folder / SNAPSHOTS / str(record.step) / MODEL_FILE
                save_tensors(place, state.ema.state_dict(), work.config.model_dump(mode="json"))
            if record.step % settings.save_every == 0 or record.step == settings.steps:
                last_time += _check(stage, work, state, processes)  # before the state, so that a crash loses no row
            message = ""
            if settings.micro_batch is not None and record.rows != at_a_time:
                at_a_time, message = record.rows, _tell_parts(stage, record, processes)
            if (reading := _look(stage, work, record.step, state, processes)) is not None:
                seen, last_time = reading.in_words(), last_time + reading.seconds
                if reading.collapsed and not told:
                    message, told = f"{stage.name}, step {record.step:,}: {reading.warning()}", True
            if record.step % settings.save_every == 0:
                save()
            images = (record.step - first) * settings.batch
            look = stage.folder if reading is not None else None
            left = time.perf_counter()
            text = f"{note}  {seen}".rstrip()
            yield Progress(stage.name, record.step, settings.steps, images, text, message, look, together=True)
            if _is_busy(work, record.step):
                processes.wait()
            last_time += time.perf_counter() - left  # what the caller does meanwhile, such as pictures
    except GeneratorExit:
        save()
        raise
    save()
    if processes.is_main:
        save_tensors(stage.folder / MODEL_FILE, state.ema.state_dict(), work.config.model_dump(mode="json"))
        parameters = sum(parameter.numel() for parameter in state.ema.parameters())
        stage.finish(
            [MODEL_FILE], what=f"{settings.steps:,} steps of batch {settings.batch}, {parameters:,} parameters"
        )
    processes.wait()


def _is_busy(work: Prepared, step: int) -> bool:
    """Whether process 0 has had work of its own after a step, such as pictures, for which the others should wait."""
    training = work.training
    due = step % training.save_every == 0 or step == training.steps or step in training.snapshots
    return due or (work.looks is not None and work.looks.is_due(step, training.steps))


def _tell_parts(stage: Stage, record: Record, processes: Processes) -> str:
    """Writes how many rows are computed at a time, and returns it in words."""
    if processes.is_main:
        stage.log({"step": record.step, "rows_at_a_time": record.rows})
    rows = ", ".join(
        f"{rows:,} rows at a time{f' ({name})' * (len(record.rows) > 1)}" for name, rows in record.rows.items()
    )
    return f"{stage.name}, step {record.step:,}: {rows}"


def _check(stage: Stage, work: Prepared, state: State, processes: Processes) -> float:
    """Writes what the averaged classifier is worth at each noise level; returns the seconds that it took."""
    start = time.perf_counter()
    if work.check is not None and processes.is_main:
        stage.log({"step": state.step, "levels": work.check.rows(state.ema)})
    return time.perf_counter() - start


def _look(stage: Stage, work: Prepared, step: int, state: State, processes: Processes) -> Reading | None:
    """Looks at the averaged generator where it is time to, and writes what was seen."""
    if work.looks is None or not processes.is_main or not work.looks.is_due(step, work.training.steps):
        return None
    reading = work.looks.take(state.ema, stage.folder, step)
    stage.log({"step": step, "look": reading.as_dict()})
    return reading


def _log(stage: Stage, record: Record, state: State, settings: TrainingSettings, seconds: float) -> str:
    """Writes a row; returns it in short. A number that is not finite stands for an update that was skipped.

    Raises:
        UserError: where many updates in a row were skipped.
    """
    metrics = {name: float(value) for name, value in record.metrics.items()}
    skipped = {name: count.tolist() for name, count in state.skipped.items()}
    stuck = [name for name, (_, in_a_row) in skipped.items() if in_a_row >= min(_BAD_IN_A_ROW, record.step)]
    if stuck:
        bad = next((name for name, value in metrics.items() if not math.isfinite(value)), "the gradient")
        raise UserError(
            f"{stage.name}: {bad} is not a finite number at step {record.step}, and the last {skipped[stuck[0]][1]} "
            f"updates were skipped: lower the learning rate (training.lr is {settings.lr:g}) or look for bad values in "
            f"the data; {stage.folder} keeps the last state"
        )
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if any(total for total, _ in skipped.values()):
        metrics["skipped"] = sum(total for total, _ in skipped.values())
    steps = min(settings.log_every, record.step)
    rate = steps * settings.batch / seconds if seconds > 0 else 0.0
    stage.log({"step": record.step, "lr": record.lr, "images_per_second": round(rate, 1), **metrics})
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
