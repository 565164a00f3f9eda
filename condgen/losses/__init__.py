"""Losses: one small class each, which recipes name, with a plain function under it."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from condgen.losses.base import (
    ClassifierLoss as ClassifierLoss,
    Gradient as Gradient,
    Losses as Losses,
    Noised as Noised,
    compiled_gradient as compiled_gradient,
    gradient_of as gradient_of,
)
from condgen.losses.cross_entropy import (
    CrossEntropy as CrossEntropy,
    Focal,
    cross_entropy_loss as cross_entropy_loss,
)
from condgen.losses.distillation import (
    DistributionMatching as DistributionMatching,
    LikelihoodTerm as LikelihoodTerm,
    MatchingLoss as MatchingLoss,
    ScoreIdentity as ScoreIdentity,
    distribution_matching_loss as distribution_matching_loss,
    score_identity_loss as score_identity_loss,
)
from condgen.losses.dlsm import DLSM as DLSM, PRESETS as PRESETS, dlsm_loss as dlsm_loss
from condgen.losses.imported import ImportedLoss, ImportedMatching
from condgen.losses.score_matching import (
    AdversarialScoreMatching as AdversarialScoreMatching,
    Discriminator as Discriminator,
    adversarial_loss as adversarial_loss,
    discriminator_loss as discriminator_loss,
    score_matching_loss as score_matching_loss,
)
from condgen.losses.score_mismatching import (
    Critic as Critic,
    ScoreMismatching as ScoreMismatching,
    critic_loss as critic_loss,
    mismatching_loss as mismatching_loss,
)
from condgen.settings import Settings, parse

AnyClassifierLoss: TypeAlias = Annotated[CrossEntropy | Focal | DLSM | ImportedLoss, Field(discriminator="loss")]


class _Chosen(Settings):
    objective: AnyClassifierLoss


def classifier_loss(tree: Mapping[str, Any], where: str) -> ClassifierLoss:
    """The loss that plain data describe; UserError, which begins with `where`, for what is none."""
    return parse(_Chosen, {"objective": tree}, where).objective


AnyGeneratorLoss: TypeAlias = Annotated[
    ScoreMismatching | DistributionMatching | ScoreIdentity | ImportedMatching, Field(discriminator="loss")
]
