"""Settings for a data set that has no recipe yet."""

import math

from condgen.data.labelled import LabelledSet
from condgen.data.sets import AnyData
from condgen.errors import UserError
from condgen.losses.distillation import DistributionMatching, ScoreIdentity
from condgen.losses.moment_matching import MomentMatching
from condgen.losses.score_matching import AdversarialScoreMatching
from condgen.losses.score_mismatching import ScoreMismatching
from condgen.networks import AnyClassifierNet, AnyDenoiserNet, AnyGeneratorNet
from condgen.networks.discriminator import ConvDiscriminatorSettings, MLPDiscriminatorSettings
from condgen.networks.generator import ConvGeneratorSettings
from condgen.networks.mlp import MLPSettings
from condgen.networks.resnet import ResNetSettings
from condgen.networks.unet import UNetSettings
from condgen.recipes.schema import ClassifierRecipe, DiagnoseRecipe, GeneratorRecipe, Recipe, ScoreRecipe
from condgen.schedules import EDM, LogNormal, LogUniform
from condgen.training.settings import TrainingSettings


def _halvings(sides: tuple[int, ...]) -> int:
    """How often images of these sides can be halved, at most three times."""
    halvings = max(k for k in (3, 2, 1, 0) if all(side % 2**k == 0 for side in sides))
    if halvings == 0:
        raise UserError(f"images of {sides[0]}x{sides[1]} cannot be halved: for a folder, add --set data.image_size=32")
    return halvings


def _is_tiny(data: LabelledSet) -> bool:
    """Whether samples are small enough for perceptrons: points, and images of up to 8x8 pixels."""
    return not data.is_images or max(data.shape[1:]) <= 8


def default_adversary(data: LabelledSet) -> AdversarialScoreMatching:
    """A perceptron for points and tiny images, else the paper's residual blocks, which halve to 8 to 15 pixels."""
    if _is_tiny(data):
        return AdversarialScoreMatching(network=MLPDiscriminatorSettings())
    halvings = max(1, min(_halvings(data.shape[1:]), (min(data.shape[1:]) // 8).bit_length() - 1))
    network = ConvDiscriminatorSettings(channels=(256,) * (halvings + 2), halvings=halvings)
    return AdversarialScoreMatching(network=network)


def _default_generators(data: LabelledSet) -> dict[str, GeneratorRecipe]:
    network: AnyGeneratorNet = MLPSettings(width=192, depth=2)
    judge: AnyDenoiserNet = MLPSettings(width=192, depth=2)
    critic: AnyDenoiserNet = MLPSettings(width=96, depth=2)  # a wider one leaves the generator less variety
    if not _is_tiny(data):
        halvings = _halvings(data.shape[1:])
        network = ConvGeneratorSettings(multipliers=(4, 2, 1)[-halvings:])
        judge = UNetSettings(channels=32, multipliers=(1, 2, 2)[: halvings + 1])
        critic = UNetSettings(channels=16, multipliers=(1, 2, 2)[: halvings + 1], blocks=1)
    std = data.standard_deviation()
    density, denoiser_density = LogUniform(low=0.07 * std, high=7 * std), LogNormal(mean=math.log(std), std=1.5)
    training = TrainingSettings(steps=4000, batch=96, lr=2e-4, betas=(0.5, 0.999), decay="tail")
    of_matching = training.model_copy(update={"lr": 3e-4, "betas": (0.0, 0.99)})
    found = {"smm": GeneratorRecipe(network=network, objective=ScoreMismatching(network=critic), training=training)}
    for loss in (DistributionMatching, ScoreIdentity):
        objective = loss(network=judge, density=density, denoiser_density=denoiser_density)
        found[objective.loss] = GeneratorRecipe(network=network, objective=objective, training=of_matching)
    alone = TrainingSettings(steps=6000, batch=256, lr=2e-3, betas=(0.9, 0.99), decay="tail")
    return found | {"mmd": GeneratorRecipe(network=network, objective=MomentMatching(), training=alone)}


def default_diagnose(data: LabelledSet) -> DiagnoseRecipe:
    unit = data.standard_deviation() / 0.5
    return DiagnoseRecipe(levels=tuple(round(unit * level, 6) for level in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)))


def default_recipe(settings: AnyData, data: LabelledSet) -> Recipe:
    """Perceptrons for points and tiny images, else convolutions; EDM noise in units of the data's deviation."""
    unit = data.standard_deviation() / 0.5
    density = LogNormal(mean=-1.2 + math.log(unit))
    denoiser: AnyDenoiserNet = MLPSettings()
    classifier: AnyClassifierNet = MLPSettings()
    if not _is_tiny(data):
        halvings = _halvings(data.shape[1:])
        denoiser = UNetSettings(multipliers=(1, 2, 2)[: halvings + 1])
        classifier = ResNetSettings(blocks=(2, 2, 2, 2)[: halvings + 1])
    training = TrainingSettings(steps=4000, batch=256)
    return Recipe(
        name="default",
        data=settings,
        schedule=EDM(sigma_min=0.002 * unit, sigma_max=80 * unit),
        score=ScoreRecipe(network=denoiser, density=density, training=training),
        classifiers={"default": ClassifierRecipe(network=classifier, density=density, training=training)},
        generators=_default_generators(data),
        diagnose=default_diagnose(data),
    )
