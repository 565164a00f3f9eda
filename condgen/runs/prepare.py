"""A training stage, made ready: its networks, its task, and what is measured meanwhile."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condgen.checkpoint import MODEL_FILE
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet, stratified_order
from condgen.diagnostics.classifier_errors import measure_classifier, spread_levels
from condgen.errors import UserError
from condgen.recipes import ClassifierStage, GeneratorStage, ScoreStage, TrainStage, content_key
from condgen.rng import keyed_generator
from condgen.runs.folder import file_key
from condgen.runs.generators import generator_task
from condgen.runs.models import Models, check_fits
from condgen.runs.previews import Previewer
from condgen.score import ScoreConfig, ScoreModel
from condgen.settings import Settings
from condgen.training import Task, TrainingSettings, lighten_
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

__all__ = ["Prepared", "prepare", "training_key"]


_CHECKED_LEVELS, _CHECKED_IMAGES, _CHECK_SEED = 8, 512, 0
_PREVIEWS = 10


class _Check(NamedTuple):
    """Held-out data on which a classifier is measured from time to time, always with the same noise."""

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
    """A training stage, made ready."""

    task: Task
    config: Settings
    training: TrainingSettings
    check: _Check | None = None  # of a classifier
    previews: Previewer | None = None  # of a generator


def _score_work(stage: ScoreStage, data: LabelledSet, device: torch.device) -> Prepared:
    config = ScoreConfig(
        network=stage.score.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        labels=stage.score.labels,
        sigma_data=data.standard_deviation(),
    )
    model, objective = config.build().to(device), stage.score.adversarial
    task: Task = ScoreTask(model, stage.score.density, stage.score.label_dropout)
    if objective is not None:  # drawn after the model, whose initial weights are those without an adversary
        discriminator = objective.discriminator(model).to(device)
        task = AdversarialScoreTask(model, discriminator, objective, stage.score.density, stage.score.label_dropout)
    return Prepared(task, config, stage.score.training)


def _classifier_work(
    stage: ClassifierStage,
    data: LabelledSet,
    device: torch.device,
    score_folder: Path | None,
    held_out: LabelledSet | None,
) -> Prepared:
    config = ClassifierConfig(
        network=stage.classifier.network,
        schedule=stage.schedule,
        shape=data.shape,
        names=data.names,
        sigma_data=data.standard_deviation(),
    )
    prior = None
    if stage.classifier.objective.needs_prior:
        if score_folder is None:
            raise UserError(
                f"{stage.classifier.objective.loss} builds on a trained score model: name its folder with --score"
            )
        prior = ScoreModel.load(score_folder, device)
        check_fits(score_folder, prior.config, config, "the classifier")
        prior.require_unconditional(score_folder, f"on which {stage.classifier.objective.loss} builds")
    classifier = config.build().to(device)
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


def training_key(stage: TrainStage, data: LabelledSet, models: Models) -> str:
    """The content hash of everything that the trained weights depend on."""
    return content_key(stage, data.fingerprint(), *_keys_below(stage, models))


def prepare(
    stage: TrainStage, data: LabelledSet, device: torch.device, models: Models, held_out: LabelledSet | None
) -> Prepared:
    """The networks of a stage with their initial weights, and all that trains them.

    On held-out data it is measured from time to time.
    """
    torch.manual_seed(stage.seed)  # the initial weights
    match stage:
        case ScoreStage():
            return _score_work(stage, data, device)
        case ClassifierStage():
            return _classifier_work(stage, data, device, models.score, held_out)
        case _:
            assert isinstance(stage, GeneratorStage)
            task = generator_task(stage, data, models, device)
            training = stage.generator.training
            every = stage.generator.preview_every or max(1, training.steps // _PREVIEWS)
            previews = Previewer(data, held_out, every) if held_out is not None else None
            return Prepared(task, task.model.config, training, previews=previews)


def _keys_below(stage: TrainStage, models: Models) -> list[str]:
    """Content hashes of the model files that a stage's training depends on."""
    if isinstance(stage, GeneratorStage):
        recipe = stage.generator
        keys = models.keys(recipe.teacher) if recipe.teacher is not None else []
        if recipe.likelihood is not None and models.likelihood is not None:
            keys.append(file_key(models.likelihood / MODEL_FILE))
        return keys
    needs_score = isinstance(stage, ClassifierStage) and stage.classifier.objective.needs_prior
    return [file_key(models.score / MODEL_FILE) if needs_score and models.score is not None else ""]
