"""The training stages: score model, classifier, generator, each in a folder of its own."""

import time
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.generator import Critic, Generator, GeneratorConfig, mismatching_levels
from condgen.recipe import ClassifierStage, GeneratorStage, ScoreStage, content_key
from condgen.run.folder import Progress, Stage, Work, file_key, open_stage
from condgen.score import ScoreConfig, ScoreModel
from condgen.settings import Settings
from condgen.training import Processes, Record, State, Task, TrainingSettings, load_state, save_state, train
from condgen.training.tasks import ClassifierTask, GeneratorTask, ScoreTask
from condgen.weights import MODEL_FILE, save_tensors

__all__ = ["TrainStage", "train_stage"]

TrainStage: TypeAlias = ScoreStage | ClassifierStage | GeneratorStage


class _Work(NamedTuple):
    task: Task
    config: Settings
    training: TrainingSettings


def _score_work(stage: ScoreStage, data: LabelledSet, device: torch.device) -> _Work:
    config = ScoreConfig(
        network=stage.score.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        sigma_data=data.standard_deviation(),
    )
    return _Work(ScoreTask(ScoreModel(config).to(device), stage.score.density), config, stage.score.training)


def _classifier_work(
    stage: ClassifierStage, data: LabelledSet, device: torch.device, score_folder: Path | None
) -> _Work:
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
    config = ClassifierConfig(
        network=stage.classifier.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        sigma_data=data.standard_deviation(),
    )
    classifier = Classifier(config).to(device)
    task = ClassifierTask(classifier, stage.classifier.objective, stage.classifier.density, prior)
    return _Work(task, config, stage.classifier.training)


def _generator_work(stage: GeneratorStage, data: LabelledSet, device: torch.device) -> _Work:
    recipe = stage.generator
    config = GeneratorConfig(
        network=recipe.network,
        shape=data.shape,
        names=data.names,
        latent=recipe.latent,
        scale=1.0 if data.is_images else data.standard_deviation(),
    )
    levels = recipe.objective.levels or mismatching_levels()
    critic = Critic(recipe.objective.network, data.shape, data.n_classes, levels, config.scale).to(device)
    return _Work(GeneratorTask(Generator(config).to(device), critic, recipe.objective), config, recipe.training)


def train_stage(
    name: str,
    folder: Path,
    stage: TrainStage,
    data: LabelledSet,
    processes: Processes,
    score_folder: Path | None = None,
) -> Work:
    """Trains a model in a folder, or goes on, or does nothing where it is finished.

    Leaving the iteration early saves the state; the same call goes on from there.

    Args:
        name: for people.
        folder: where the model goes.
        stage: what to train.
        data: the training split.
        processes: of this run.
        score_folder: the frozen score model that DLSM builds on.
    """
    needs_score = isinstance(stage, ClassifierStage) and stage.classifier.objective.loss == "dlsm"
    built_on = file_key(score_folder / MODEL_FILE) if needs_score and score_folder is not None else ""
    key = content_key(stage, data.fingerprint(), built_on)
    torch.manual_seed(stage.seed)  # the initial weights
    match stage:
        case ScoreStage():
            work = _score_work(stage, data, processes.device)
        case ClassifierStage():
            work = _classifier_work(stage, data, processes.device, score_folder)
        case GeneratorStage():
            work = _generator_work(stage, data, processes.device)
    opened = open_stage(name, folder, key, stage)
    if opened.finished:
        return
    yield from opened.start()
    state = State.fresh(work.task.models(), work.training.betas)
    load_state(folder, state, key)
    opened.forget_log_after(state.step)
    yield from _train(opened, work, state, data, stage.seed, processes)


def _train(stage: Stage, work: _Work, state: State, data: LabelledSet, seed: int, processes: Processes) -> Work:
    settings = work.training
    first, saved, note, last_time = state.step, state.step, "", time.perf_counter()

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
                note = _log(stage, record, settings, now - last_time, processes)
                last_time = now
            if record.step % settings.save_every == 0:
                save()
            yield Progress(stage.name, record.step, settings.steps, (record.step - first) * settings.batch, note)
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


def _log(stage: Stage, record: Record, settings: TrainingSettings, seconds: float, processes: Processes) -> str:
    metrics = {name: float(value) for name, value in record.metrics.items()}
    bad = [name for name, value in metrics.items() if not abs(value) < float("inf")]
    if bad:
        raise UserError(
            f"{stage.name}: {bad[0]} is {metrics[bad[0]]} at step {record.step}: lower the learning rate "
            f"(training.lr is {settings.lr:g}) or look for bad values in the data; {stage.folder} keeps the last state"
        )
    steps = min(settings.log_every, record.step)
    if processes.is_main:
        rate = steps * settings.batch / seconds if seconds > 0 else 0.0
        stage.log({"step": record.step, "lr": record.lr, "images_per_second": round(rate, 1), **metrics})
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
