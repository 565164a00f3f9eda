"""A training stage, made ready: its networks, its task, and what is measured meanwhile."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from condgen.checkpoint import MODEL_FILE, load_tensors, read_description
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data.labelled import LabelledSet
from condgen.denoiser import Denoiser
from condgen.errors import UserError, explain
from condgen.files import cache_folder
from condgen.generator import Generator, GeneratorConfig
from condgen.losses.distillation import MatchingLoss
from condgen.losses.moment_matching import MomentMatching
from condgen.losses.score_mismatching import Critic, ScoreMismatching
from condgen.networks.diffusers import DiffusersSettings
from condgen.networks.embedding import ClassEmbedding, start_from
from condgen.networks.unet import UNetSettings
from condgen.recipes.compose import content_key
from condgen.recipes.schema import ClassifierStage, GeneratorStage, ScoreStage
from condgen.runs.folder import file_key
from condgen.runs.layout import PRIOR_POOL, STAGE_FILE
from condgen.runs.models import Folders, check_fits, data_fields, open_guided
from condgen.runs.monitor import Monitor, classifier_monitor
from condgen.score import ScoreConfig, ScoreModel
from condgen.training.distributed import Processes
from condgen.training.generator_tasks import GeneratorTask, LikelihoodGuide, MatchingTask, MismatchingTask, MomentTask
from condgen.training.loop import Task
from condgen.training.prior_pool import PriorPool
from condgen.training.settings import PriorSettings, lighten_, resolved
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask


class Prepared(NamedTuple):
    task: Task
    look: Monitor | None = None  # what is measured meanwhile
    look_every: int = 1  # steps
    message: str = ""  # something that the user should read


def copy_weights(start: Path, model: nn.Module) -> None:
    """Gives a model the weights of another, which may be of other data, or know no labels.

    A classifier may start from a score model of the same network, all but its last layer.
    """
    assert isinstance(model, ScoreModel | Classifier | Generator)
    of_score = isinstance(model, Classifier) and read_description(start / MODEL_FILE).get("kind") == ScoreModel.kind
    first, own = (ScoreModel if of_score else type(model)).load(start).config, model.config
    before, now = (config.model_dump(mode="json") for config in (first, own))
    for network in (before["network"], now["network"]):
        network.pop("dropout", None)  # it has no weights
    for what in ("network", "shape", "level", "latent"):  # networks see noise levels, whatever the schedule
        if before.get(what) != now.get(what):
            there, here = before[what], now[what]
            if isinstance(there, dict) and isinstance(here, dict):  # what differs alone
                keys = [key for key in there | here if there.get(key) != here.get(key)]
                there, here = ({key: each[key] for key in keys if key in each} for each in (there, here))
            raise UserError(f"training cannot start from {start}, whose {what} is {there} where {here} is asked for")
    classes = f"{len(first.names)} classes where {len(own.names)} are asked for"
    problem = f"training cannot start from {start}, which has {classes}, or knows labels otherwise"
    with explain(problem, "name another model with --init", RuntimeError):
        weights = load_tensors(start / MODEL_FILE)[0]
        if of_score:
            fresh = model.state_dict()
            known = {name: w for name, w in weights.items() if name in fresh and w.shape == fresh[name].shape}
            if not known:
                raise RuntimeError("the score model has a network a class")
            weights = fresh | known
        start_from(model, weights)


def prepare_score(stage: ScoreStage, data: LabelledSet, device: torch.device) -> Prepared:
    recipe = stage.score
    config = ScoreConfig(network=recipe.network, labels=recipe.labels, schedule=stage.schedule, **data_fields(data))
    model = config.build()
    for part in model.modules():
        if isinstance(part, ClassEmbedding):
            part.table.weight.data *= recipe.label_std
    how = model.to(device), recipe.density, recipe.label_dropout
    if recipe.adversarial is None:
        return Prepared(ScoreTask(*how))
    return Prepared(AdversarialScoreTask(*how, objective=recipe.adversarial))


def prepare_classifier(
    stage: ClassifierStage, data: LabelledSet, processes: Processes, folders: Folders, held_out: LabelledSet | None
) -> Prepared:
    recipe, place, device = stage.classifier, folders.main, processes.device
    config = ClassifierConfig(network=recipe.network, schedule=stage.schedule, **data_fields(data))
    model = config.build().to(device)  # first: its initial weights do not depend on what is loaded
    frozen, pool, message, prior = None, None, "", None
    if place is not None and (recipe.objective.needs_prior or (place / MODEL_FILE).exists()):
        prior = ScoreModel.load(place, device)
        check_fits(place, prior.config, config, f"the classifier of {data.source}")
    if recipe.objective.needs_prior:
        place = folders.score()
        frozen = ScoreModel.load(place, device)
        frozen.require_unconditional(place, f"on which {recipe.objective.loss} builds")
        lighten_(frozen, recipe.prior)
        if recipe.prior.pool and (pool := _prior_pool(stage, data, processes, place, frozen)) is None:
            message = f"{place} has no room for a pool of the prior's estimates: it is evaluated at every step"
    task = ClassifierTask(model, recipe.objective, recipe.density, frozen, pool)
    if prior is not None and prior.config.labels == "separate":
        prior = None  # its gain is not that of one score
    look = classifier_monitor(config, held_out, prior) if held_out is not None else None
    return Prepared(task, look, recipe.training.save_every, message)


def _prior_pool(
    stage: ClassifierStage, data: LabelledSet, processes: Processes, place: Path, prior: ScoreModel
) -> PriorPool | None:
    """The pool of a score model's estimates, in its folder if that is a stage's; none where there is no room for it."""
    settings, density, training = stage.classifier.prior, stage.classifier.density, stage.classifier.training
    computed = PriorSettings(precision=resolved(settings.precision, processes.device))
    conditions = density, computed, str(training.flip), data.fingerprint()
    home = place if (place / STAGE_FILE).exists() else cache_folder()
    folder = home / PRIOR_POOL / content_key(*conditions, file_key(place / MODEL_FILE))
    pool = PriorPool(prior, data, density, settings, training, folder, processes)
    return pool if processes.once(lambda: pool.fits(training.steps * training.batch)) else None


def generator_task(stage: GeneratorStage, data: LabelledSet, folders: Folders, device: torch.device) -> GeneratorTask:
    """Everything that trains a generator, fresh or started from a teacher."""
    recipe, objective = stage.generator, stage.generator.objective
    real: Denoiser | None = None
    teacher: ScoreModel | None = None  # the score model in it, from whose weights others start
    if recipe.teacher is not None:
        real, teacher = open_guided(recipe.teacher, folders, device)
        folder = folders.score(recipe.teacher.score)
        check_fits(folder, teacher.config, data, "the generator", stage.schedule)
        recipe.check_teacher(teacher.config.labels, f"the score model in {folder}")
    model = _config(stage, data, teacher).build()
    if teacher is not None and model.level is not None:
        start_from(model.net, teacher.net.state_dict())
    model, likely = model.to(device), None
    if recipe.likelihood is not None:
        folder = folders.classifier(recipe.likelihood.classifier)
        classifier = Classifier.load(folder, device)
        check_fits(folder, classifier.config, data, data.source)
        likely = LikelihoodGuide(classifier, recipe.likelihood)
    if isinstance(objective, MomentMatching):
        width = objective.bandwidth * data.standard_deviation() * data.x[0].numel() ** 0.5
        return MomentTask(model, width, likely=likely)
    if isinstance(objective, ScoreMismatching):
        # Images range from -1 to 1; points of twice their standard deviation are about as wide.
        scale = 1.0 if data.is_images else 2 * data.standard_deviation()
        critic = Critic(objective, data.shape, data.n_classes, scale).to(device)
        return MismatchingTask(model, critic, objective, likely=likely)
    fake = _denoiser(stage, objective, data, teacher).to(device)
    if real is None:
        real = _denoiser(stage, objective, data, None).to(device)
    else:
        for part in [part for part in real.modules() if isinstance(part, ScoreModel)]:  # a guide's too
            lighten_(part, recipe.prior)  # after weights were copied
    return MatchingTask(model, real, fake, objective, likely=likely)


def _config(stage: GeneratorStage, data: LabelledSet, teacher: ScoreModel | None) -> GeneratorConfig:
    recipe, shape, names, sigma_data = stage.generator, data.shape, data.names, data.standard_deviation()
    if recipe.network is not None:
        scale = 1.0 if data.is_images else sigma_data
        return GeneratorConfig(network=recipe.network, shape=shape, names=names, latent=recipe.latent, scale=scale)
    assert isinstance(recipe.objective, MatchingLoss)  # others have a network
    network = recipe.objective.network
    if teacher is not None:
        network, sigma_data = teacher.config.network, teacher.config.sigma_data
    assert network is not None  # the recipe was refused otherwise
    level, (low, high) = sigma_data * recipe.level, stage.schedule.noise_range
    if not low <= level <= high:
        problem = f"generator.level {recipe.level:g} is noise level {level:g} for this data, outside the schedule's"
        advice = f"choose one between {low / sigma_data:.3g} and {high / sigma_data:.3g}"
        raise UserError(f"{problem}, {low:g} to {high:g}: {advice}")
    if isinstance(network, DiffusersSettings):  # without dropout: what is trained is what is shipped
        network = network.model_copy(update={"unet": network.unet | {"dropout": 0.0}})
    elif isinstance(network, UNetSettings):
        network = network.model_copy(update={"dropout": 0.0})
    return GeneratorConfig(network=network, shape=shape, names=names, scale=sigma_data, level=level)


def _denoiser(stage: GeneratorStage, loss: MatchingLoss, data: LabelledSet, teacher: ScoreModel | None) -> ScoreModel:
    """A score model that is told the label, started from the teacher's weights where it has the same network."""
    fields, network = data_fields(data), loss.network
    if teacher is not None:
        fields["sigma_data"], network = teacher.config.sigma_data, network or teacher.config.network
    assert network is not None  # the recipe was refused otherwise
    model = ScoreConfig(network=network, schedule=stage.schedule, labels="embedding", **fields).build()
    if teacher is not None and network == teacher.config.network and teacher.config.labels != "separate":
        start_from(model.net, teacher.net.state_dict())
    return model
