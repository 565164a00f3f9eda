"""The training stages: score model, classifier, generator, each in a folder of its own."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from condgen.checkpoint import MODEL_FILE
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.recipes import ClassifierStage, GeneratorStage, TrainStage, read_yaml
from condgen.rng import keyed_generator
from condgen.runs.folder import read_json
from condgen.runs.layout import RECIPE_FILE, SNAPSHOTS, STAGE_FILE
from condgen.runs.models import Folders
from condgen.runs.prepare import Prepared, prepare
from condgen.runs.stage import Progress, Stage, StageFolder, Work
from condgen.training import (
    Processes,
    Record,
    State,
    describe_precision,
    load_state,
    resolved,
    save_state,
    share_state,
    train,
)


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """Trains a model. Leaving the iteration early saves the state; the same stage goes on from there.

    Args:
        data: the training split.
        folders: the frozen models that it learns from: the score model of DLSM, a generator's teacher.
        held_out: the validation split, on which a classifier or a generator is measured from time to time.
    """

    settings: TrainStage
    data: LabelledSet
    folders: Folders = field(default_factory=Folders)
    held_out: LabelledSet | None = None
    unit: ClassVar[str] = "steps"

    def reads(self) -> list[Path]:
        found: list[Path] = []
        if isinstance(self.settings, ClassifierStage) and self.settings.classifier.objective.needs_prior:
            found.append(self.folders.score() / MODEL_FILE)
        if (start := self._start()) is not None:
            found.append(start / MODEL_FILE)
        if isinstance(self.settings, GeneratorStage):
            teacher, likelihood = self.settings.generator.teacher, self.settings.generator.likelihood
            if teacher is not None:
                found += self.folders.files(teacher)
            if likelihood is not None:
                found.append(self.folders.classifier(likelihood.classifier) / MODEL_FILE)
        return found

    def _start(self) -> Path | None:
        """The model from whose weights this one starts."""
        init = self.settings.model.init
        return self.folders.start(self.settings.kind, init) if init is not None else None

    def conditions(self) -> list[str]:
        return [self.data.fingerprint()]

    def total(self) -> int:
        return self.settings.model.training.steps

    def run(self, processes: Processes) -> Work:
        """Trains, or goes on, or does nothing where it is finished."""
        training, seed = self.settings.model.training, self.settings.seed
        if training.flip and not self.data.is_images:
            raise UserError(f"training.flip mirrors images, and {self.data.source} has points: leave it out")
        data = self.data.per_class(training.per_class, keyed_generator(seed))
        work = prepare(self.settings, data, processes, self.folders, self.held_out, self.folder, self._start())
        opened = yield from self.open(processes)
        if opened.finished:
            return
        precision, before = resolved(training.precision, processes.device), opened.record.get("precision")
        changed = f"training goes on in {precision}, after {before}" if before not in (None, precision) else ""
        opened.note(precision=precision)
        for message in (work.message, changed, describe_precision(training.precision, processes.device)):
            if message:
                yield Progress(self.name, 0, 1, message=f"{self.name}: {message}")
        state = State.fresh(work.task.models, training.betas, training.optimizer, training.weight_decay)
        processes.once(lambda: load_state(self.folder, state, opened.key.base))
        share_state(state, processes)
        if state.step == 0 and opened.record.get("earlier"):
            yield Progress(self.name, 0, 1, message=f"{self.name}: there is no state to go on from: it begins anew")
        opened.forget_log_after(state.step)
        records = train(work.task, state, data, training, seed, processes)
        yield from self._train(opened, work, state, records, processes)

    def _train(
        self, opened: StageFolder, work: Prepared, state: State, records: Iterator[Record], processes: Processes
    ) -> Work:
        training, monitor = self.settings.model.training, work.monitor
        first = logged = saved = state.step
        note, seen, warned, told_balance, seconds = "", "", False, False, 0.0
        skipped: dict[str, str] = {}  # why the last one of each network was, until it is logged
        told_skipped = any(total for total, _ in state.skipped.values())

        def save() -> None:
            nonlocal saved
            if processes.is_main and state.step != saved:
                save_state(self.folder, state, opened.key.base)
                opened.note()
            saved = state.step

        mark = time.perf_counter()
        try:
            for record in records:
                seconds += time.perf_counter() - mark
                step, messages, pictures = record.step, [], None
                saving, looking = step % training.save_every == 0, monitor is not None and monitor.is_due(step)
                skipped |= record.skipped
                if record.skipped and not told_skipped:
                    messages.append(self._skipped_message(record))
                    told_skipped = True
                if step % training.log_every == 0 or step == training.steps:
                    self._log_skipped(opened, skipped, step)
                    metrics = {name: float(value) for name, value in record.metrics.items()}
                    rate = (step - logged) * training.batch / max(seconds, 1e-9)
                    note = _log(opened, record, metrics, state, rate)
                    if not told_balance and (warning := work.task.warning(metrics)):
                        messages.append(f"{self.name}, step {step:,}: {warning}")
                        told_balance = True
                    logged, seconds = step, 0.0
                if step in training.snapshots and processes.is_main:  # before the state that says it is written
                    work.save(self.folder / SNAPSHOTS / str(step), state.ema)
                if monitor is not None and looking and processes.is_main:  # before the state, so that no row is lost
                    look = monitor.look(state.ema, step)
                    opened.log({"step": step, **look.row})
                    seen, pictures = look.note, self.folder if look.pictures else None
                    if look.warning and not warned:
                        messages.append(f"{self.name}, step {step:,}: {look.warning}")
                        warned = True
                if saving:
                    save()
                yield Progress(
                    *(self.name, step, training.steps, (step - first) * training.batch),
                    note=f"{note}  {seen}".rstrip(),
                    message="\n".join(messages),
                    preview=pictures,
                    together=True,
                )
                if saving or looking or step in training.snapshots:
                    processes.wait()  # for what process 0 does alone
                mark = time.perf_counter()
        except GeneratorExit:
            save()
            raise
        except UserError:  # too many updates were skipped
            self._log_skipped(opened, skipped, state.step)
            if all(bool(p.isfinite().all()) for model in state.models.values() for p in model.parameters()):
                save()
            raise
        save()
        if processes.is_main:
            work.save(self.folder, state.ema)
            parameters = sum(parameter.numel() for parameter in state.ema.parameters())
            what = f"{training.steps:,} steps of batch {training.batch}, {parameters:,} parameters"
            if earlier := opened.record.get("earlier"):
                what += f"; went on after {', '.join(f'{steps:,}' for steps in earlier)} steps"
            opened.finish([MODEL_FILE], what=what, **self._before())
        processes.wait()

    def _before(self) -> dict[str, Any]:
        """What the weights that it started from had cost."""
        if (start := self._start()) is None:
            return {}
        cost = training_cost(start, self.settings.kind)
        return {"before": {key: cost.get(key) for key in ("steps", "seconds")}}

    def _skipped_message(self, record: Record) -> str:
        what = next(iter(record.skipped.values()))
        return (
            f"{self.name}, step {record.step:,}: {what}, and an update was skipped; log.jsonl counts them from here on"
        )

    def _log_skipped(self, opened: StageFolder, skipped: dict[str, str], step: int) -> None:
        """Writes and forgets why updates of each network were skipped."""
        if skipped:
            opened.log({"step": step, "not_finite": dict(skipped)})
        skipped.clear()


def training_cost(folder: Path, kind: str) -> dict[str, Any]:
    """Steps, batch and seconds of the training of a score model or classifier, where its folder says so.

    With those of the model from whose weights it started; not at all where those are unknown.
    """
    cost: dict[str, Any] = {}
    if (path := folder / RECIPE_FILE).exists():
        training = (read_yaml(path).get(kind) or {}).get("training", {})
        cost = {key: training.get(key) for key in ("steps", "batch")}
    if (path := folder / STAGE_FILE).exists():
        record = read_json(path)
        cost["seconds"] = record.get("seconds")
        for key, before in record.get("before", {}).items():
            known = isinstance(cost.get(key), int | float) and isinstance(before, int | float)
            cost[key] = cost[key] + before if known else None
    return cost


def _log(opened: StageFolder, record: Record, metrics: dict[str, float], state: State, rate: float) -> str:
    """Writes a row; returns it in short. A number that is not finite stands for an update that was skipped."""
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    skipped = sum(total for total, _ in state.skipped.values())
    if skipped:
        metrics["skipped"] = skipped
    opened.log({"step": record.step, "lr": record.lr, "images_per_second": round(rate, 1), **metrics})
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
