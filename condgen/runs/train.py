"""The training stages: score model, classifier, generator, each in a folder of its own."""

import math
import time
from pathlib import Path

from condgen.checkpoint import save_tensors
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.metrics import Reading
from condgen.recipes import TrainStage
from condgen.runs.layout import MODEL_FILE, SNAPSHOTS
from condgen.runs.models import Models
from condgen.runs.prepare import Prepared, prepare, training_key
from condgen.runs.stage import Progress, StageFolder, Work, open_stage
from condgen.training import (
    Processes,
    Record,
    SkippedUpdate,
    State,
    TrainingSettings,
    load_state,
    save_state,
    share_state,
    train,
)

__all__ = ["train_stage"]


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
    if stage.training.flip and not data.is_images:
        raise UserError(f"training.flip mirrors images, and {data.source} has points: leave it out")
    key = processes.once(lambda: training_key(stage, data, models))
    work = prepare(stage, data, processes.device, models, held_out)
    opened = open_stage(name, folder, key, stage, processes)
    if opened.finished:
        return
    yield from opened.start()
    state = State.fresh(work.task.models(), work.training.betas, work.training.optimizer)
    processes.once(lambda: load_state(folder, state, key))
    share_state(state, processes)
    opened.forget_log_after(state.step)
    yield from _train(opened, work, state, data, stage.seed, processes)


def _train(
    stage: StageFolder, work: Prepared, state: State, data: LabelledSet, seed: int, processes: Processes
) -> Work:
    settings = work.training
    first, saved, note, last_time = state.step, state.step, "", time.perf_counter()
    logged = first
    seen, told = "", False  # what the last look saw, and whether a collapse was told
    skipped: dict[str, SkippedUpdate] = {}  # the last one of each network, until it is logged
    told_skipped = any(total for total, _ in state.skipped.values())

    def save() -> None:
        nonlocal saved
        if processes.is_main and state.step != saved:
            save_state(stage.folder, state, stage.key)
            stage.note()
        saved = state.step

    try:
        for record in train(work.task, state, data, settings, seed, processes):
            message = ""
            skipped |= {update.network: update for update in record.skipped}
            if record.skipped and not told_skipped:
                message, told_skipped = _tell_skipped(stage, record, data), True
            if record.step % settings.log_every == 0 or record.step == settings.steps:
                _log_skipped(stage, skipped, data)
                now = time.perf_counter()
                note = _log(stage, record, state, settings, record.step - logged, now - last_time)
                logged, last_time = record.step, now
            if record.step in settings.snapshots and processes.is_main:  # before the state that says it is written
                place = stage.folder / SNAPSHOTS / str(record.step) / MODEL_FILE
                save_tensors(place, state.ema.state_dict(), work.config.model_dump(mode="json"))
            if record.step % settings.save_every == 0 or record.step == settings.steps:
                last_time += _check(stage, work, state, processes)  # before the state, so that a crash loses no row
            if (reading := _preview(stage, work, record.step, state, processes)) is not None:
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
    except UserError:  # too many updates were skipped
        _log_skipped(stage, skipped, data)
        if all(bool(parameter.isfinite().all()) for model in state.models.values() for parameter in model.parameters()):
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
    return due or (work.previews is not None and work.previews.is_due(step, training.steps))


def _tell_skipped(stage: StageFolder, record: Record, data: LabelledSet) -> str:
    """The first update of a training that is skipped, in words."""
    what = record.skipped[0].in_words(data.names)
    return f"{stage.name}, step {record.step:,}: {what}, and an update was skipped; log.jsonl counts them from here on"


def _log_skipped(stage: StageFolder, skipped: dict[str, SkippedUpdate], data: LabelledSet) -> None:
    """Writes and forgets the last update of each network that was skipped."""
    for network, update in skipped.items():
        where = {"rows": update.rows, "of": update.of, "noise_level": update.noise_level}
        found = {"step": update.step} | where | {"class": data.names[update.label]}
        stage.log({"step": update.step, "not_finite": {network: found}})
    skipped.clear()


def _check(stage: StageFolder, work: Prepared, state: State, processes: Processes) -> float:
    """Writes what the averaged classifier is worth at each noise level; returns the seconds that it took."""
    start = time.perf_counter()
    if work.check is not None and processes.is_main:
        rows = work.check.rows(state.ema)
        good = [row for row in rows if all(math.isfinite(value) for value in row.values())]
        bad = {"not_finite_at": [row["sigma"] for row in rows if row not in good]} if len(good) < len(rows) else {}
        stage.log({"step": state.step, "levels": good, **bad})
    return time.perf_counter() - start


def _preview(stage: StageFolder, work: Prepared, step: int, state: State, processes: Processes) -> Reading | None:
    """Makes a preview of the averaged generator where one is due."""
    if work.previews is None or not processes.is_main or not work.previews.is_due(step, work.training.steps):
        return None
    reading = work.previews.take(state.ema, stage.folder, step)
    stage.log({"step": step, "preview": reading.as_dict()})
    return reading


def _log(
    stage: StageFolder, record: Record, state: State, settings: TrainingSettings, steps: int, seconds: float
) -> str:
    """Writes a row; returns it in short. A number that is not finite stands for an update that was skipped."""
    metrics = {name: float(value) for name, value in record.metrics.items()}
    skipped = sum(total for total, _ in state.skipped.values())
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if skipped:
        metrics["skipped"] = skipped
    rate = steps * settings.batch / seconds if seconds > 0 else 0.0
    stage.log({"step": record.step, "lr": record.lr, "images_per_second": round(rate, 1), **metrics})
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
