"""The training stages: score model, classifier, generator, each in a folder of its own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from condgen.checkpoint import MODEL_FILE
from condgen.data.labelled import LabelledSet
from condgen.errors import UserError
from condgen.model import Model
from condgen.recipes.compose import read_yaml
from condgen.recipes.schema import ClassifierStage, GeneratorStage, ScoreStage, TrainStage
from condgen.rng import keyed_generator
from condgen.runs.folder import read_json
from condgen.runs.layout import RECIPE_FILE, SNAPSHOTS, STAGE_FILE
from condgen.runs.models import Folders
from condgen.runs.monitor import generator_monitor
from condgen.runs.prepare import Prepared, copy_weights, generator_task, prepare_classifier, prepare_score
from condgen.runs.stage import Progress, Stage, StageFolder, Work
from condgen.training.distributed import Processes
from condgen.training.loop import Record, train
from condgen.training.settings import describe_precision, resolved
from condgen.training.state import State, load_state, save_state, share_state

_PREVIEWS = 10  # of a generator


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """Trains a model. Leaving the iteration early saves the state; the same stage goes on from there."""

    settings: TrainStage
    data: LabelledSet
    folders: Folders = field(default_factory=Folders)  # of the frozen models that it learns from
    held_out: LabelledSet | None = None  # on which a classifier or a generator is measured from time to time
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

    def follows(self) -> list[Path]:
        """A classifier is measured with the score model, also where its loss needs none."""
        looks_at = self.folders.main if isinstance(self.settings, ClassifierStage) else None
        return [*self.reads(), *([looks_at / MODEL_FILE] if looks_at is not None else [])]

    def _start(self) -> Path | None:
        init = self.settings.model.init
        return self.folders.start(self.settings.kind, init) if init is not None else None

    def conditions(self) -> list[str]:
        return [self.data.fingerprint()]

    def total(self) -> int:
        return self.settings.model.training.steps

    def run(self, processes: Processes) -> Work:
        training, seed = self.settings.model.training, self.settings.seed
        if training.flip and not self.data.is_images:
            raise UserError(f"training.flip mirrors images, and {self.data.source} has points: leave it out")
        data = self.data.per_class(training.per_class, keyed_generator(seed))
        work = self._prepare(data, processes)
        opened = yield from self.open(processes)
        if opened.finished:
            return
        precision, before = resolved(training.precision, processes.device), opened.record.get("precision")
        changed = f"training goes on in {precision}, after {before}" if before not in (None, precision) else ""
        opened.note(precision=precision)
        for message in (work.message, changed, describe_precision(training.precision, processes.device)):
            if message:
                yield self.tell(message)
        state = State.fresh(work.task.models, training.betas, training.optimizer, training.weight_decay)
        processes.once(lambda: load_state(self.folder, state, opened.key.base))
        share_state(state, processes)
        if earlier := opened.record.get("earlier"):  # asked for, and perhaps not all done
            opened.note(earlier=sorted({min(steps, state.step) for steps in earlier} - {0}))
            if state.step == 0:
                yield self.tell("there is no state to go on from: it begins anew")
        opened.forget_log_after(state.step)
        yield from self._train(opened, work, state, train(work.task, state, data, training, seed, processes), processes)

    def _prepare(self, data: LabelledSet, processes: Processes) -> Prepared:
        """The networks with initial weights, or those of the model that it starts from, and what trains them."""
        stage, folders, held_out = self.settings, self.folders, self.held_out
        torch.manual_seed(stage.seed)  # the initial weights
        match stage:
            case ScoreStage():
                work = prepare_score(stage, data, processes.device)
            case ClassifierStage():
                work = prepare_classifier(stage, data, processes, folders, held_out)
            case GeneratorStage():
                task = generator_task(stage, data, folders, processes.device)
                look = generator_monitor(self.folder, data, held_out) if held_out is not None else None
                every = stage.generator.preview_every or max(1, stage.generator.training.steps // _PREVIEWS)
                work = Prepared(task, look, every)
        if (start := self._start()) is not None:
            copy_weights(start, work.task.models["model"])
        return work

    def _train(
        self, opened: StageFolder, work: Prepared, state: State, records: Iterator[Record], processes: Processes
    ) -> Work:
        training, is_main, ema = self.settings.model.training, processes.is_main, state.ema
        assert isinstance(ema, Model)  # which its file can rebuild
        first = logged = saved = state.step
        figures, seen, seconds = "", "", 0.0  # for the progress bar, and since the last row of the log
        told = {"skipped"} if any(total for total, _ in state.skipped.values()) else set[str]()

        def save() -> None:
            nonlocal saved
            weights = (one for model in state.models.values() for one in model.parameters())
            if is_main and state.whole and state.step != saved and all(bool(one.isfinite().all()) for one in weights):
                save_state(self.folder, state, opened.key.base)
                opened.note()
            saved = state.step

        try:
            for record in records:
                step, last = record.step, record.step == training.steps
                saving, snapshot = step % training.save_every == 0, step in training.snapshots
                looking = work.look is not None and (step % work.look_every == 0 or last)
                seconds += record.seconds
                warnings = {}
                if record.skipped:
                    opened.log({"step": step, "not_finite": record.skipped})
                    why = next(iter(record.skipped.values()))
                    warnings["skipped"] = f"{why}, and an update was skipped; log.jsonl counts them from here on"
                if step % training.log_every == 0 or last:
                    metrics = {name: float(value) for name, value in record.metrics.items()}
                    rate = (step - logged) * training.batch / max(seconds, 1e-9)
                    figures = _log(opened, record, metrics, state, rate)
                    warnings["balance"] = work.task.warning(metrics)
                    logged, seconds = step, 0.0
                if snapshot and is_main:  # before the state that says it is written
                    ema.save(self.folder / SNAPSHOTS / str(step))
                if looking and is_main and work.look is not None:  # before the state, so that no row is lost
                    look = work.look(ema, step)
                    opened.log({"step": step, **look.row})
                    seen, warnings["look"] = look.note, look.warning
                if saving:
                    save()
                new = {kind: text for kind, text in warnings.items() if text and kind not in told}
                told |= new.keys()
                yield Progress(
                    *(self.name, step, training.steps, (step - first) * training.batch),
                    note=f"{figures}  {seen}".rstrip(),
                    message="\n".join(f"{self.name}, step {step:,}: {text}" for text in new.values()),
                    preview=self.folder if looking and is_main and isinstance(self.settings, GeneratorStage) else None,
                    together=True,
                )
                if saving or looking or snapshot:
                    processes.wait()  # for what process 0 does alone
        except (GeneratorExit, UserError):  # it was stopped, or too many updates were skipped
            save()
            raise
        save()
        if is_main:
            ema.save(self.folder)
            parameters = sum(parameter.numel() for parameter in ema.parameters())
            what = f"{training.steps:,} steps of batch {training.batch}, {parameters:,} parameters"
            if self.settings.model.init is not None:
                what += f", from the weights of {self.settings.model.init}"
            if earlier := opened.record.get("earlier"):
                what += f"; went on after {', '.join(f'{steps:,}' for steps in earlier)} steps"
            before: dict[str, Any] = {}  # what the weights that it started from had cost
            if (start := self._start()) is not None:
                cost = training_cost(start, self.settings.kind)
                before = {"before": {key: cost.get(key) for key in ("steps", "seconds")}}
            opened.finish([MODEL_FILE], what=what, **before)
        processes.wait()


def training_cost(folder: Path, kind: str) -> dict[str, Any]:
    """Steps, batch and seconds of a training, with those of the model that it started from, as far as known."""
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
    if skipped := sum(total for total, _ in state.skipped.values()):
        metrics["skipped"] = skipped
    opened.log({"step": record.step, "lr": record.lr, "images_per_second": round(rate, 1), **metrics})
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
