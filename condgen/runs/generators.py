"""What a stage that trains a generator needs: its networks, and the frozen models that it learns from."""

import torch

from condgen.classifier import Classifier
from condgen.data import LabelledSet
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.generator import GeneratorConfig
from condgen.losses import MatchingLoss, ScoreMismatching
from condgen.networks import AnyDenoiserNet, DiffusersSettings, UNetSettings, start_from
from condgen.recipes import GeneratorRecipe, GeneratorStage
from condgen.runs.models import Folders, check_fits, data_fields, open_guided
from condgen.score import ScoreConfig, ScoreModel
from condgen.training import Augmentation, lighten_
from condgen.training.generator_tasks import GeneratorTask, LikelihoodGuide, MatchingTask, MismatchingTask


def generator_task(stage: GeneratorStage, data: LabelledSet, folders: Folders, device: torch.device) -> GeneratorTask:
    """Everything that trains a generator, fresh or started from a teacher.

    Raises:
        UserError: where a folder is missing, or its model does not go with the data.
    """
    recipe, objective = stage.generator, stage.generator.objective
    if recipe.augment != Augmentation() and not data.is_images:
        raise UserError(f"augment changes images, and {data.source} has points: leave it out")
    real, teacher = _open_teacher(stage, data, folders, device)
    model = _config(stage, data, teacher).build()
    if teacher is not None and model.level is not None:
        start_from(model.net, teacher.net.state_dict())
    model, likely = model.to(device), _open_classifier(recipe, data, folders, device)
    if isinstance(objective, ScoreMismatching):
        # Images range from -1 to 1; points of twice their standard deviation are about as wide.
        scale = 1.0 if data.is_images else 2 * data.standard_deviation()
        critic = objective.critic(data.shape, data.n_classes, scale).to(device)
        return MismatchingTask(model, critic, objective, augmentation=recipe.augment, likely=likely)
    fake = _denoiser(stage, objective, data, teacher).to(device)
    if real is None:
        real = _denoiser(stage, objective, data, None).to(device)
    else:
        for part in [part for part in real.modules() if isinstance(part, ScoreModel)]:  # a guide's too
            lighten_(part, recipe.prior)  # after weights were copied
    return MatchingTask(model, real, fake, objective, augmentation=recipe.augment, likely=likely)


def _config(stage: GeneratorStage, data: LabelledSet, teacher: ScoreModel | None) -> GeneratorConfig:
    recipe, sigma_data = stage.generator, data.standard_deviation()
    if recipe.network is not None:
        scale = 1.0 if data.is_images else sigma_data
        return GeneratorConfig(
            network=recipe.network, shape=data.shape, names=data.names, latent=recipe.latent, scale=scale
        )
    network = recipe.objective.network
    if teacher is not None:
        network, sigma_data = teacher.config.network, teacher.config.sigma_data
    assert network is not None  # the recipe was refused otherwise
    level, (low, high) = sigma_data * recipe.level, stage.schedule.noise_range
    if not low <= level <= high:
        raise UserError(
            f"generator.level {recipe.level:g} is noise level {level:g} for this data, outside the schedule's, {low:g} "
            f"to {high:g}: choose one between {low / sigma_data:.3g} and {high / sigma_data:.3g}"
        )
    network = _without_dropout(network)
    return GeneratorConfig(network=network, shape=data.shape, names=data.names, scale=sigma_data, level=level)


def _without_dropout(network: AnyDenoiserNet) -> AnyDenoiserNet:
    """The same network, to be a generator: what is trained is what is shipped."""
    if isinstance(network, DiffusersSettings):
        return network.model_copy(update={"unet": network.unet | {"dropout": 0.0}})
    return network.model_copy(update={"dropout": 0.0}) if isinstance(network, UNetSettings) else network


def _denoiser(
    stage: GeneratorStage, objective: MatchingLoss, data: LabelledSet, teacher: ScoreModel | None
) -> ScoreModel:
    """A score model that is told the label, started from the teacher's weights where it has the same network."""
    fields, network = data_fields(data), objective.network
    if teacher is not None:
        fields["sigma_data"], network = teacher.config.sigma_data, network or teacher.config.network
    assert network is not None  # the recipe was refused otherwise
    model = ScoreConfig(network=network, schedule=stage.schedule, labels="embedding", **fields).build()
    if teacher is not None and network == teacher.config.network and teacher.config.labels != "separate":
        start_from(model.net, teacher.net.state_dict())
    return model


def _open_teacher(
    stage: GeneratorStage, data: LabelledSet, folders: Folders, device: torch.device
) -> tuple[Denoiser | None, ScoreModel | None]:
    """A frozen denoiser, and the score model in it, from whose weights others start."""
    recipe = stage.generator
    if recipe.teacher is None:
        return None, None
    denoiser, score = open_guided(recipe.teacher, folders, device)
    folder = folders.score(recipe.teacher.score)
    check_fits(folder, score.config, data, "the generator", stage.schedule)
    recipe.check_teacher(score.config.labels, f"the score model in {folder}")
    return denoiser, score


def _open_classifier(
    recipe: GeneratorRecipe, data: LabelledSet, folders: Folders, device: torch.device
) -> LikelihoodGuide | None:
    if recipe.likelihood is None:
        return None
    folder = folders.classifier(recipe.likelihood.classifier)
    classifier = Classifier.load(folder, device)
    check_fits(folder, classifier.config, data, data.source)
    return LikelihoodGuide(classifier, recipe.likelihood)
