"""Losses: one small class each, which recipes name, with a plain function under it."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from condgen.losses.base import ClassifierLoss, Gradient, Losses, Noised, compiled_gradient, gradient_of
from condgen.losses.cross_entropy import CrossEntropy, Focal, cross_entropy_loss, focal_loss
from condgen.losses.distillation import (
    DistributionMatching,
    LikelihoodTerm,
    MatchingLoss,
    ScoreIdentity,
    distribution_matching_loss,
    score_identity_loss,
)
from condgen.losses.dlsm import DLSM, PRESETS, dlsm_loss
from condgen.losses.imported import ImportedLoss, ImportedMatching
from condgen.losses.score_matching import (
    AdversarialScoreMatching,
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    score_matching_loss,
)
from condgen.losses.score_mismatching import (
    Critic,
    ScoreMismatching,
    critic_loss,
    mismatching_loss,
)
from condgen.settings import Settings, parse

__all__ = [
    "DLSM",
    "PRESETS",
    "AdversarialScoreMatching",
    "AnyClassifierLoss",
    "AnyGeneratorLoss",
    "ClassifierLoss",
    "Critic",
    "CrossEntropy",
    "Discriminator",
    "DistributionMatching",
    "Gradient",
    "LikelihoodTerm",
    "Losses",
    "MatchingLoss",
    "Noised",
    "ScoreIdentity",
    "ScoreMismatching",
    "adversarial_loss",
    "classifier_loss",
    "compiled_gradient",
    "critic_loss",
    "cross_entropy_loss",
    "discriminator_loss",
    "distribution_matching_loss",
    "dlsm_loss",
    "focal_loss",
    "gradient_of",
    "mismatching_loss",
    "score_identity_loss",
    "score_matching_loss",
]

AnyClassifierLoss: TypeAlias = Annotated[CrossEntropy | Focal | DLSM | ImportedLoss, Field(discriminator="loss")]


class _Chosen(Settings):
    objective: AnyClassifierLoss


def classifier_loss(tree: Mapping[str, Any], where: str) -> ClassifierLoss:
    """The loss that plain data describe; UserError, which begins with `where`, for what is none."""
    return parse(_Chosen, {"objective": tree}, where).objective


AnyGeneratorLoss: TypeAlias = Annotated[
    ScoreMismatching | DistributionMatching | ScoreIdentity | ImportedMatching, Field(discriminator="loss")
]
